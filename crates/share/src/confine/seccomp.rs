//! The system calls that a serving share and its keeper make; any other fails with EPERM.

use std::collections::BTreeMap;
use std::io;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::ConfineError;

const ALLOWED: &[i64] = &[
    // files
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_copy_file_range,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_fgetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fremovexattr,
    libc::SYS_dup,
    libc::SYS_fcntl,
    // the queues and the two sockets
    libc::SYS_accept4,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    // memory
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // threads and time
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_timerfd_settime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_membarrier,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_capget,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Numbers that only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[libc::SYS_epoll_wait, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

/// prctl: a thread's name, and what the report asks for.
const PR_SET_NAME: u64 = 15;
const PR_GET_SECCOMP: u64 = 21;
const PR_GET_NO_NEW_PRIVS: u64 = 39;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Built<T> = Result<T, seccompiler::BackendError>;

fn one(argument: u8, operator: SeccompCmpOp, value: u64) -> Built<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    SeccompRule::new(vec![condition])
}

fn any(argument: u8, values: &[u64]) -> Built<Vec<SeccompRule>> {
    values.iter().map(|value| one(argument, SeccompCmpOp::Eq, *value)).collect()
}

/// Whose filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// A serving share's.
    Share,
    /// A keeper's, who also copies files by reference.
    Keeper,
}

/// ioctl: what shares blocks between files.
const FICLONE: u64 = 0x4004_9409;

fn rules(whose: Filter) -> Built<Rules> {
    let mut rules: Rules =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let executable = u64::from(libc::PROT_EXEC.cast_unsigned());
    let is = |argument, mask, value| one(argument, SeccompCmpOp::MaskedEq(mask), value);
    // Answered by the other filter; here it must not be refused in another way.
    rules.insert(libc::SYS_clone3, Vec::new());
    // Threads, but no processes.
    rules.insert(libc::SYS_clone, vec![is(0, thread, thread)?]);
    // Memory is never executable and writable by turns.
    rules.insert(libc::SYS_mmap, vec![is(2, executable, 0)?]);
    rules.insert(libc::SYS_mprotect, vec![is(2, executable, 0)?]);
    // A working directory per thread: virtiofsd's pool wants it.
    let clone_fs = u64::from(libc::CLONE_FS.cast_unsigned());
    rules.insert(libc::SYS_unshare, any(0, &[clone_fs])?);
    rules.insert(libc::SYS_prctl, any(0, &[PR_SET_NAME, PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS])?);
    let controls: &[u64] = match whose {
        Filter::Share => &[libc::FIONBIO],
        Filter::Keeper => &[libc::FIONBIO, FICLONE],
    };
    rules.insert(libc::SYS_ioctl, any(1, controls)?);
    Ok(rules)
}

fn programs(whose: Filter) -> Built<Vec<BpfProgram>> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let eperm = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let main = SeccompFilter::new(rules(whose)?, eperm, SeccompAction::Allow, arch)?;
    // The flags of clone3 are out of a filter's sight; told that it does not
    // exist, the C library takes clone.
    let enosys = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let clone3: Rules = [(libc::SYS_clone3, Vec::new())].into_iter().collect();
    let clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, enosys, arch)?;
    Ok(vec![clone3.try_into()?, main.try_into()?])
}

/// Puts the filter on every thread of the process, and on those to come.
pub(crate) fn filter_all_threads(whose: Filter) -> Result<(), ConfineError> {
    let failed = |error: String| ConfineError::Step {
        step: "the system-call filter",
        source: io::Error::other(error),
    };
    for program in programs(whose).map_err(|error| failed(error.to_string()))? {
        seccompiler::apply_filter_all_threads(&program)
            .map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own: the filter lasts as long as the thread.
    #[test]
    fn what_a_share_does_not_do_fails() {
        std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            for program in programs(Filter::Share).unwrap() {
                seccompiler::apply_filter(&program).unwrap();
            }
            let refused = |error: io::Error| assert_eq!(error.raw_os_error(), Some(libc::EPERM));
            refused(std::net::TcpListener::bind("127.0.0.1:0").unwrap_err());
            refused(std::os::unix::net::UnixStream::connect("/none").unwrap_err());
            refused(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).unwrap_err().into());
            refused(std::env::set_current_dir("/").unwrap_err());
            refused(
                rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::TERM,
                )
                .unwrap_err()
                .into(),
            );
            // Files and further threads are what it lives on.
            std::fs::read("/proc/self/status").unwrap();
            std::thread::spawn(|| ()).join().unwrap();
        })
        .join()
        .unwrap();
    }
}
