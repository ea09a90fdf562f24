/*
 * exec ID: runs the command of the session ID in the foreground and reports how it ended.
 *
 * sshd starts this as agent; it asks the guest service for the command (which also moves this process into the session's control
 * group), starts it, and tells the service "started PID", "stopped SIGNAL", "continued", "exited CODE", "killed SIGNAL" or
 * "failed STAGE ERRNO", one a line. It is C and not a script because it stands in the path of every command: arguments and
 * environment are any bytes, stdin and stdout are not touched, and an interpreter would cost a tenth of a second under emulation.
 *
 * Answer of the service: four bytes length (little endian), then NUL-terminated strings: directory, number of arguments in
 * decimal, the arguments, the environment. Later a single byte 'c' continues a stopped command in the foreground.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKET_PATH "/run/ringfence/exec.sock"
#define LARGEST (8u << 20)

static int service = -1;

static void die(const char *what)
{
    dprintf(2, "ringfence: %s: %s\n", what, strerror(errno));
    exit(255);
}

static void tell(const char *what, int number)
{
    dprintf(service, "%s %d\n", what, number);
}

static void read_all(char *into, size_t count)
{
    while (count > 0) {
        ssize_t got = read(service, into, count);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            errno = got ? errno : ECONNRESET;
            die("the guest service gave no command");
        }
        into += got;
        count -= (size_t)got;
    }
}

/* One past the terminator of the string at `at`; the payload ends in a NUL, which main checked. */
static char *after(char *at, char *end)
{
    at += strlen(at) + 1;
    if (at > end) {
        errno = EPROTO;
        die("the guest service's answer");
    }
    return at;
}

static char **strings(char **at, char *end, size_t most)
{
    char **list = calloc(most + 1, sizeof *list);
    size_t count = 0;
    if (!list)
        die("memory");
    while (*at < end && count < most) {
        list[count++] = *at;
        *at = after(*at, end);
    }
    return list;
}

static void child(int terminal, int report, char *directory, char **arguments, char **environment)
{
    sigset_t none;
    setpgid(0, 0);
    if (terminal >= 0)
        tcsetpgrp(terminal, getpid());
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int stage = 'd';
    if (chdir(directory) == 0) {
        stage = 'x';
        environ = environment;
        execvp(arguments[0], arguments);
    }
    int failure[2] = {stage, errno};
    if (write(report, failure, sizeof failure) < 0)
        _exit(254);
    _exit(stage == 'x' ? (failure[1] == ENOENT ? 127 : 126) : 125);
}

static void noticed(int number)
{
    (void)number; /* only there so that ppoll returns */
}

/* Waits for the command; returns the code to exit with. */
static int attend(pid_t command, int terminal)
{
    sigset_t waiting;
    struct pollfd from = {.fd = service, .events = POLLIN};
    pid_t own = getpgrp();
    sigprocmask(SIG_SETMASK, NULL, &waiting);
    sigdelset(&waiting, SIGCHLD);
    for (;;) {
        int status;
        pid_t which = waitpid(command, &status, WNOHANG | WUNTRACED | WCONTINUED);
        if (which == command) {
            if (WIFEXITED(status)) {
                tell("exited", WEXITSTATUS(status));
                return WEXITSTATUS(status);
            }
            if (WIFSIGNALED(status)) {
                tell("killed", WTERMSIG(status));
                return 128 + WTERMSIG(status);
            }
            if (WIFSTOPPED(status)) {
                if (terminal >= 0)
                    tcsetpgrp(terminal, own);
                tell("stopped", WSTOPSIG(status));
            } else {
                tell("continued", 0);
            }
            continue;
        }
        if (ppoll(&from, 1, NULL, &waiting) > 0) {
            char asked;
            if (read(service, &asked, 1) <= 0) {
                kill(-command, SIGKILL);
                return 255;
            }
            if (asked == 'c') {
                if (terminal >= 0)
                    tcsetpgrp(terminal, command);
                kill(-command, SIGCONT);
            }
        }
    }
}

static int ask(const char *id)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET_PATH};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("the guest service does not answer");
    dprintf(fd, "%s\n", id);
    return fd;
}

int main(int count, char **given)
{
    uint32_t length;
    unsigned char prefix[4];
    int report[2], failure[2];

    if (count != 2) {
        errno = EINVAL;
        die("usage: exec ID");
    }
    service = ask(given[1]);
    read_all((char *)prefix, sizeof prefix);
    length = prefix[0] | prefix[1] << 8 | prefix[2] << 16 | (uint32_t)prefix[3] << 24;
    if (length < 4 || length > LARGEST) {
        errno = EPROTO;
        die("the guest service's answer");
    }
    char *at = malloc(length), *end = at + length;
    if (!at)
        die("memory");
    read_all(at, length);
    if (end[-1] != 0) {
        errno = EPROTO;
        die("the guest service's answer");
    }
    char *directory = at;
    at = after(at, end);
    size_t wanted = strtoul(at, NULL, 10);
    at = after(at, end);
    if (wanted == 0 || wanted > length) {
        errno = EPROTO;
        die("the guest service's answer");
    }
    char **arguments = strings(&at, end, wanted);
    char **environment = strings(&at, end, length);

    int terminal = -1;
    if (isatty(0) && getsid(0) == getpid())
        terminal = fcntl(0, F_DUPFD_CLOEXEC, 10);

    /* Ctrl-C, Ctrl-Z and a closing terminal are the command's business; this process outlives them to report. */
    int ignored[] = {SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGHUP, SIGTERM, SIGPIPE};
    for (size_t index = 0; index < sizeof ignored / sizeof *ignored; index++)
        signal(ignored[index], SIG_IGN);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    struct sigaction action = {.sa_handler = noticed};
    sigaction(SIGCHLD, &action, NULL);

    if (pipe2(report, O_CLOEXEC) < 0)
        die("pipe");
    pid_t command = fork();
    if (command < 0)
        die("fork");
    if (command == 0)
        child(terminal, report[1], directory, arguments, environment);
    setpgid(command, command);
    if (terminal >= 0)
        tcsetpgrp(terminal, command);
    close(report[1]);
    ssize_t got = read(report[0], failure, sizeof failure);
    if (got == sizeof failure) {
        dprintf(2, "ringfence: %s: %s\n", failure[0] == 'd' ? directory : arguments[0], strerror(failure[1]));
        dprintf(service, "failed %c %d\n", failure[0], failure[1]);
    } else {
        tell("started", command);
    }
    /* Whoever reads the output must see its end when the command closes it, not when this process does. */
    close(0);
    close(1);
    close(2);
    return attend(command, terminal);
}
