/* guestd: the whole userland of a lab guest, a workload whose useful work is read from outside.
 *
 * HTTP on port 80, one thread a connection:
 *   GET /                       "ok NAME SERVED" after w units of work (?w=N, default 1)
 *   GET /stats                  JSON: ticks (units of background work done), CPU, memory, faults
 *   GET /set?cpu=&thr=&ws=&job=&burst=&mem=&dirty=   change the background workload (see jobs.h),
 *                               answers as /stats
 *   GET /blob?kb=N              sends N KiB;   GET /sink?kb=N swallows N KiB (no zero bytes) sent
 *                               after the header
 *   GET /disk?mb=&bs=&rw=r|w    O_DIRECT requests of bs KiB on /dev/vda, timed
 */
#define _GNU_SOURCE
#include "jobs.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile unsigned long served;
static char name[64];

/* The nth number after key in a /proc file, -1 when it is not there. */
static long field(const char *file, const char *key, int n) {
    char line[512];
    long value = -1;
    FILE *f = fopen(file, "r");
    if (!f) return -1;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key))) continue;
        char *s = line + strlen(key);
        for (int i = 0; i <= n; i++) value = strtol(s, &s, 10);
        break;
    }
    fclose(f);
    return value;
}

static int stats(char *to, size_t size) {
    return snprintf(to, size,
        "{\"name\":\"%s\",\"t\":%.3f,\"ticks\":%lu,\"busy_s\":%.4f,\"served\":%lu,"
        "\"user\":%ld,\"sys\":%ld,\"idle\":%ld,\"steal\":%ld,\"ncpu\":%ld,"
        "\"memtotal_kb\":%ld,\"memavail_kb\":%ld,\"swapfree_kb\":%ld,"
        "\"majflt\":%ld,\"swapout\":%ld,\"oom\":%ld,"
        "\"cpu\":%d,\"thr\":%d,\"ws\":%d,\"job\":%d,\"burst\":%d,"
        "\"mem\":%d,\"dirty\":%d}\n",
        name, now(), ticks_done(), busy_s(), served,
        field("/proc/stat", "cpu ", 0), field("/proc/stat", "cpu ", 2),
        field("/proc/stat", "cpu ", 3), field("/proc/stat", "cpu ", 7),
        sysconf(_SC_NPROCESSORS_ONLN),
        field("/proc/meminfo", "MemTotal:", 0), field("/proc/meminfo", "MemAvailable:", 0),
        field("/proc/meminfo", "SwapFree:", 0),
        field("/proc/vmstat", "pgmajfault ", 0), field("/proc/vmstat", "pswpout ", 0),
        field("/proc/vmstat", "oom_kill ", 0),
        knobs.cpu, knobs.thr, knobs.ws, knobs.job, knobs.burst, knobs.mem, knobs.dirty);
}

/* The number that "key=" has in the query of the request line, else fallback. */
static int arg(const char *request, const char *key, int fallback) {
    size_t n = strlen(key);
    for (const char *s = strchr(request, '?'); s && *s && *s != ' ' && *s != '\r'; s++)
        if ((*s == '?' || *s == '&') && !strncmp(s + 1, key, n) && s[1 + n] == '=')
            return atoi(s + 2 + n);
    return fallback;
}

static int bounded(int value, int low, int high) {
    return value < low ? low : value > high ? high : value;
}

static void set_load(const char *request) {
    knobs.cpu = bounded(arg(request, "cpu", knobs.cpu), 0, 100);
    knobs.thr = bounded(arg(request, "thr", knobs.thr), 0, MAX_THREADS);
    knobs.ws = bounded(arg(request, "ws", knobs.ws), 0, 2048);
    knobs.job = bounded(arg(request, "job", knobs.job), 0, N_JOBS - 1);
    knobs.burst = bounded(arg(request, "burst", knobs.burst), 0, 60000);
    knobs.mem = bounded(arg(request, "mem", knobs.mem), 0, 65536);
    knobs.dirty = bounded(arg(request, "dirty", knobs.dirty), 0, 65536);
}

static int disk(const char *request, char *to, size_t size) {
    int mb = bounded(arg(request, "mb", 4), 0, 4096);
    size_t bs = (size_t)bounded(arg(request, "bs", 64), 4, 4096) << 10;
    int writes = !strstr(request, "rw=r"), error = 0;
    long done = 0;
    void *block;
    if (posix_memalign(&block, 4096, bs)) return snprintf(to, size, "{\"error\":\"memory\"}\n");
    memset(block, 1, bs);
    int fd = open("/dev/vda", (writes ? O_WRONLY : O_RDONLY) | O_DIRECT);
    double start = now();
    error = fd < 0;
    while (!error && done < (long)mb << 20) {
        ssize_t n = writes ? pwrite(fd, block, bs, done) : pread(fd, block, bs, done);
        error = n != (ssize_t)bs;
        if (!error) done += n;
    }
    double s = now() - start;
    if (fd >= 0) close(fd);
    free(block);
    return snprintf(to, size, "{\"bytes\":%ld,\"s\":%.4f,\"mb_s\":%.2f,\"iops\":%.1f,\"failed\":%d}\n",
                    done, s, s > 0 ? done / s / 1e6 : 0, s > 0 ? done / bs / s : 0, error);
}

static int swallow(int fd, const char *request, char *to, size_t size) {
    const char *body = strstr(request, "\r\n\r\n");
    long left = (long)bounded(arg(request, "kb", 64), 0, 1 << 21) << 10;
    if (body) left -= (long)strlen(body + 4); /* what came along with the header */
    char scratch[16384];
    double start = now();
    while (left > 0) {
        ssize_t n = read(fd, scratch, left < (long)sizeof scratch ? (size_t)left : sizeof scratch);
        if (n <= 0) break;
        left -= n;
    }
    return snprintf(to, size, "{\"left\":%ld,\"s\":%.4f}\n", left, now() - start);
}

static int is(const char *request, const char *path) {
    size_t n = strlen(path);
    return !strncmp(request, "GET ", 4) && !strncmp(request + 4, path, n) &&
           (request[4 + n] == ' ' || request[4 + n] == '?');
}

static int send_all(int fd, const char *data, size_t n) {
    while (n > 0) {
        ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        data += sent;
        n -= (size_t)sent;
    }
    return 0;
}

static void *connection(void *a) {
    static const char zeros[65536];
    int fd = (int)(long)a;
    char request[2048], body[2048], reply[2600];
    ssize_t n;
    while ((n = read(fd, request, sizeof request - 1)) > 0) {
        request[n] = 0;
        int length = 0, found = 1;
        long blob = 0;
        if (is(request, "/stats")) {
            length = stats(body, sizeof body);
        } else if (is(request, "/set")) {
            set_load(request);
            length = stats(body, sizeof body);
        } else if (is(request, "/blob")) {
            blob = (long)bounded(arg(request, "kb", 64), 0, 1 << 21) << 10;
        } else if (is(request, "/sink")) {
            length = swallow(fd, request, body, sizeof body);
        } else if (is(request, "/disk")) {
            length = disk(request, body, sizeof body);
        } else if (is(request, "/")) {
            arithmetic(arg(request, "w", 1));
            length = snprintf(body, sizeof body, "ok %s %lu\n", name, ++served);
        } else {
            found = 0;
            length = snprintf(body, sizeof body, "no such page\n");
        }
        int closing = strcasestr(request, "connection: close") != NULL;
        n = snprintf(reply, sizeof reply,
                     "HTTP/1.1 %s\r\nContent-Length: %ld\r\nConnection: %s\r\n\r\n%.*s",
                     found ? "200 OK" : "404 Not Found", blob ? blob : (long)length,
                     closing ? "close" : "keep-alive", length, body);
        if (send_all(fd, reply, (size_t)n)) break;
        for (long left = blob; left > 0; left -= sizeof zeros)
            if (send_all(fd, zeros, left < (long)sizeof zeros ? (size_t)left : sizeof zeros)) break;
        if (closing) break;
    }
    close(fd);
    return NULL;
}

void start_thread(void *(*run)(void *), void *argument) {
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 << 10);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, run, argument) && run == connection)
        close((int)(long)argument);
    pthread_attr_destroy(&attr);
}

int main(int argc, char **argv) {              /* guestd CPU_PCT THREADS PEER */
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(80)};
    gethostname(name, sizeof name - 1);
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) knobs.cpu = bounded(atoi(argv[1]), 0, 100);
    if (argc > 2) knobs.thr = bounded(atoi(argv[2]), 0, MAX_THREADS);
    start_jobs(argc > 3 ? argv[3] : "");
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&any, sizeof any) || listen(s, 128)) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int fd = accept(s, NULL, NULL);
        if (fd >= 0) start_thread(connection, (void *)(long)fd);
    }
}
