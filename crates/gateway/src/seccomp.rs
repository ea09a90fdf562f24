//! The system calls a gateway may make. Everything else fails with EPERM; what only
//! an attacker would try ends the process.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Why the filter could not be put in place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeccompError {
    /// Not built for this processor.
    #[error("no system call filter for this processor: {0}")]
    Arch(String),
    /// The filter is not valid, or the kernel refuses it.
    #[error(transparent)]
    Filter(#[from] seccompiler::Error),
    /// The filter is not valid.
    #[error(transparent)]
    Backend(#[from] seccompiler::BackendError),
}

/// Calls that are allowed whatever their arguments are.
const FREE: &[libc::c_long] = &[
    // Descriptors that are open already.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_ppoll,
    libc::SYS_pipe2,
    // Sockets.
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_shutdown,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Threads, time, chance.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Calls of older processors' tables, which the C library still makes there.
#[cfg(target_arch = "x86_64")]
const FREE_HERE: &[libc::c_long] =
    &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_pipe, libc::SYS_time, libc::SYS_gettimeofday];
#[cfg(not(target_arch = "x86_64"))]
const FREE_HERE: &[libc::c_long] = &[];

/// Calls that end the process.
const DEADLY: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
];

/// Puts both filters in place, for this thread and every one it starts.
pub(crate) fn apply() -> Result<(), SeccompError> {
    for program in programs()? {
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

fn programs() -> Result<[BpfProgram; 3], SeccompError> {
    let arch = || {
        TargetArch::try_from(std::env::consts::ARCH)
            .map_err(|_| SeccompError::Arch(std::env::consts::ARCH.to_owned()))
    };
    let errno = |number: i32| SeccompAction::Errno(number.unsigned_abs());
    let build = |rules, otherwise, matched| -> Result<BpfProgram, SeccompError> {
        Ok(SeccompFilter::new(rules, otherwise, matched, arch()?)?.try_into()?)
    };
    let any = |calls: &[libc::c_long]| calls.iter().map(|call| (*call, Vec::new())).collect();
    let allow = SeccompAction::Allow;
    Ok([
        // The C library falls back to clone, whose flags can be seen.
        build(any(&[libc::SYS_clone3]), allow.clone(), errno(libc::ENOSYS))?,
        build(any(DEADLY), allow.clone(), SeccompAction::KillProcess)?,
        // Last, because it does not let another one follow.
        build(allowed()?, errno(libc::EPERM), allow)?,
    ])
}

fn allowed() -> Result<BTreeMap<libc::c_long, Vec<SeccompRule>>, SeccompError> {
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> = BTreeMap::new();
    let free = FREE.iter().chain(FREE_HERE).chain(DEADLY);
    rules.extend(free.map(|call| (*call, Vec::new())));
    // Answered by the second filter.
    rules.insert(libc::SYS_clone3, Vec::new());
    let equals = |argument, value: i32| -> Result<SeccompRule, SeccompError> {
        let value = u64::from(value.unsigned_abs());
        let condition = SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value)?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    let masked = |argument, mask: i32, value: i32| -> Result<SeccompRule, SeccompError> {
        let mask = SeccompCmpOp::MaskedEq(u64::from(mask.unsigned_abs()));
        let value = u64::from(value.unsigned_abs());
        let condition = SeccompCondition::new(argument, Dword, mask, value)?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    // Only internet sockets: no Unix, netlink, packet or vsock.
    let internet = vec![equals(0, libc::AF_INET)?, equals(0, libc::AF_INET6)?];
    rules.insert(libc::SYS_socket, internet);
    // What an open descriptor is.
    let empty = libc::AT_EMPTY_PATH;
    rules.insert(libc::SYS_statx, vec![masked(2, empty, empty)?]);
    rules.insert(libc::SYS_newfstatat, vec![masked(3, empty, empty)?]);
    // The runtime wants a pair of its own at start; stream pairs lead nowhere else.
    rules.insert(libc::SYS_socketpair, vec![masked(1, 0xf, libc::SOCK_STREAM)?]);
    // Threads only.
    let thread = libc::CLONE_THREAD;
    rules.insert(libc::SYS_clone, vec![masked(0, thread, thread)?]);
    // Nothing new becomes code.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![masked(2, libc::PROT_EXEC, 0)?]);
    }
    let names = vec![equals(0, libc::PR_SET_NAME)?, equals(0, libc::PR_SET_VMA)?];
    rules.insert(libc::SYS_prctl, names);
    // How sockets are made non-blocking, and how much can be read.
    let fionbio = u64::from(libc::FIONBIO as u32);
    let condition = SeccompCondition::new(1, Dword, SeccompCmpOp::Eq, fionbio)?;
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![condition])?]);
    // A panic that aborts signals itself.
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    rules.insert(libc::SYS_tgkill, vec![equals(0, own)?]);
    Ok(rules)
}
