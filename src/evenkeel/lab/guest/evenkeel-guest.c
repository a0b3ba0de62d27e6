/* evenkeel-guest: tells the host, once a second, how an application inside this VM fares.
 *
 *   cc -static -O2 -o evenkeel-guest evenkeel-guest.c
 *   evenkeel-guest [-s SOCKET] [-f FILE] [-p PID] [-d DEVICE | -o]
 *
 *   -s SOCKET  unix datagram socket to listen on   (default /run/evenkeel-guest.sock)
 *   -f FILE    a file that holds one growing number: the application's counter of work
 *   -p PID     watch a process instead: its CPU time, in seconds, is its work
 *   -d DEVICE  where to report  (default: the virtio port named evenkeel.profiler.0)
 *   -o         report to standard output, to try it out
 *
 * What an application may send to the socket, a line each, many in a datagram if it likes:
 *   work N              N units of work were done since it last said so (any unit, N >= 0)
 *   latency_ms X [N]    N operations (default 1) took X milliseconds each, on average
 * A shell can do it too:  echo work 1 | nc -uU -w0 /run/evenkeel-guest.sock
 *
 * What goes to the host, one JSON object a line:
 *   v       1
 *   t       seconds on this VM's monotonic clock
 *   work    units done since the profiler started; absent: nobody said
 *   ops, op_ms   operations timed since it started, and the sum of their times; absent: none
 *   cpu, memory, io   share of time [0, 1] that something here waited for it, lately
 *   psi     true: from /proc/pressure; false: estimated from load, swap and iowait
 * Counters only grow, so a line that is lost costs nothing. Nothing here ever waits for the host:
 * with nobody listening there the line is dropped.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PORT_NAME "evenkeel.profiler.0"
#define FAULT_S .004            /* a page that comes back from swap costs about this much */
#define LEAST_GAP_S .6          /* between two lines: the host refuses two in one second */
#define BUSY_WORK 1e15          /* more in one line of an application is a mistake of its */

static double work, ops, op_ms;
static int has_work, has_ops;
static double cpu, memory, io;  /* pressure */
static int has_psi;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int believable(double x) { return x >= 0 && x <= BUSY_WORK; }   /* refuses NaN too */

/* One line of an application. What makes no sense is ignored: it is the application's loss. */
static void hear(char *line) {
    char *end;
    if (!strncmp(line, "work ", 5)) {
        double n = strtod(line + 5, &end);
        if (end != line + 5 && believable(n)) { work += n; has_work = 1; }
    } else if (!strncmp(line, "latency_ms ", 11)) {
        double ms = strtod(line + 11, &end), n = 1;
        if (end == line + 11 || !believable(ms)) return;
        char *rest = end;
        double given = strtod(rest, &end);
        if (end != rest) n = given;
        if (!believable(n) || !believable(ms * n)) return;
        ops += n;
        op_ms += ms * n;
        has_ops = 1;
    }
}

static void hear_all(int s) {
    char text[8192];
    ssize_t n;
    while ((n = recv(s, text, sizeof text - 1, MSG_DONTWAIT)) >= 0) {
        char *save = NULL;
        text[n] = 0;
        for (char *line = strtok_r(text, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save))
            hear(line);
    }
}

static int read_text(const char *path, char *to, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, to, size - 1);
    if (fd >= 0) close(fd);
    to[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* The counter of -f, if it can be read; one that shrinks was started anew and counts from there. */
static void read_counter(const char *path) {
    static double last = -1;
    char text[64];
    if (!read_text(path, text, sizeof text)) return;
    double value = strtod(text, NULL);
    if (!believable(value)) return;
    if (last >= 0) work += value >= last ? value - last : value;
    has_work = 1;
    last = value;
}

/* CPU seconds of a process; nothing is added once it is gone. */
static void watch(int pid) {
    static double last = -1;
    char path[64], text[1024];
    unsigned long user = 0, sys = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (!read_text(path, text, sizeof text)) return;
    char *after = strrchr(text, ')');
    if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                         &user, &sys) != 2) return;
    double seconds = (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
    if (last >= 0 && seconds >= last) work += seconds - last;
    has_work = 1;
    last = seconds;
}

static double field(const char *text, const char *key) {
    const char *at = text;
    size_t n = strlen(key);
    while ((at = strstr(at, key))) {
        if (at == text || at[-1] == '\n') return strtod(at + n, NULL);
        at += n;
    }
    return 0;
}

static double share(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }

static int psi(const char *path, double *to) {
    char text[256];
    if (!read_text(path, text, sizeof text)) return 0;
    const char *at = strstr(text, "avg10=");
    if (!at) return 0;
    *to = share(atof(at + 6) / 100);
    return 1;
}

/* Without /proc/pressure: runnable tasks beyond the vCPUs, pages from swap, time in iowait. */
static void estimate(double dt) {
    static double pages_before = -1, wait_before, all_before;
    char text[16384];
    double runnable = 0, waiting = 0, all = 0;
    if (read_text("/proc/loadavg", text, sizeof text)) {
        const char *at = text;
        for (int i = 0; i < 3 && at; i++) at = strchr(at + 1, ' ');
        if (at) runnable = atof(at + 1) - 1;            /* less ourselves */
    }
    double vcpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
    cpu = runnable > vcpus ? share(1 - vcpus / runnable) : 0;
    if (read_text("/proc/stat", text, sizeof text)) {
        char *at = text + 4;
        for (int i = 0; i < 8; i++) {
            double jiffies = strtod(at, &at);
            all += jiffies;
            if (i == 4) waiting = jiffies;
        }
    }
    double pages = 0;
    if (read_text("/proc/vmstat", text, sizeof text)) pages = field(text, "pswpin ");
    if (pages_before >= 0 && dt > 0) {
        double stall = (pages - pages_before) / dt * FAULT_S;
        memory = share(stall / (1 + stall));
        io = all > all_before ? share((waiting - wait_before) / (all - all_before)) : 0;
    }
    pages_before = pages;
    wait_before = waiting;
    all_before = all;
}

static void measure_pressure(double dt) {
    has_psi = psi("/proc/pressure/cpu", &cpu) & psi("/proc/pressure/memory", &memory) &
              psi("/proc/pressure/io", &io);
    if (!has_psi) estimate(dt);
}

/* The port by its name: udev makes a link, a small guest without udev has only its number. */
static int open_port(const char *device) {
    char path[320], name[128];
    if (device) return open(device, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    int fd = open("/dev/virtio-ports/" PORT_NAME, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    DIR *ports = fd < 0 ? opendir("/sys/class/virtio-ports") : NULL;
    for (struct dirent *port; ports && fd < 0 && (port = readdir(ports));) {
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", port->d_name);
        if (port->d_name[0] == '.' || !read_text(path, name, sizeof name)) continue;
        name[strcspn(name, "\n")] = 0;
        if (strcmp(name, PORT_NAME)) continue;
        snprintf(path, sizeof path, "/dev/%s", port->d_name);
        fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    }
    if (ports) closedir(ports);
    return fd;
}

static size_t compose(char *line, size_t size, double t) {
    int n = snprintf(line, size, "{\"v\":1,\"t\":%.3f", t);
    if (has_work) n += snprintf(line + n, size - (size_t)n, ",\"work\":%.15g", work);
    if (has_ops) n += snprintf(line + n, size - (size_t)n, ",\"ops\":%.15g,\"op_ms\":%.15g", ops, op_ms);
    n += snprintf(line + n, size - (size_t)n,
                  ",\"cpu\":%.4f,\"memory\":%.4f,\"io\":%.4f,\"psi\":%s}\n", cpu, memory, io,
                  has_psi ? "true" : "false");
    return (size_t)n;
}

static int listen_on(const char *path) {
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0 || strlen(path) >= sizeof here.sun_path) return -1;
    strcpy(here.sun_path, path);
    unlink(path);
    if (bind(s, (struct sockaddr *)&here, sizeof here)) return -1;
    chmod(path, 0666);          /* any application here may speak: it only speaks for this VM */
    return s;
}

int main(int argc, char **argv) {
    const char *path = "/run/evenkeel-guest.sock", *device = NULL, *file = NULL;
    int pid = 0, to_stdout = 0, option;
    while ((option = getopt(argc, argv, "s:f:p:d:oh")) != -1) {
        switch (option) {
        case 's': path = optarg; break;
        case 'f': file = optarg; break;
        case 'p': pid = atoi(optarg); break;
        case 'd': device = optarg; break;
        case 'o': to_stdout = 1; break;
        default:
            fprintf(stderr, "usage: %s [-s SOCKET] [-f FILE] [-p PID] [-d DEVICE | -o]\n", argv[0]);
            return option == 'h' ? 0 : 2;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    int s = listen_on(path);
    if (s < 0) {
        perror(path);
        return 1;
    }
    int out = to_stdout ? 1 : -1;
    double last = now(), due = last + 1;
    for (;;) {
        struct pollfd heard = {.fd = s, .events = POLLIN};
        double left = due - now();
        if (left > 0) {
            if (poll(&heard, 1, (int)(left * 1000) + 1) > 0) hear_all(s);
            continue;
        }
        double t = now(), dt = t - last;
        hear_all(s);
        if (file) read_counter(file);
        if (pid) watch(pid);
        measure_pressure(dt);
        if (out < 0) out = open_port(device);
        char line[512];
        size_t n = compose(line, sizeof line, t);
        if (out >= 0 && write(out, line, n) < 0 && errno != EAGAIN && !to_stdout) {
            close(out);         /* the port went away: look for it again */
            out = -1;
        }
        last = t;
        due = due + 1 > t + LEAST_GAP_S ? due + 1 : t + 1;
    }
}
