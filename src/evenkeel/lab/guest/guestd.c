/* guestd: the whole userland of a lab guest, a workload whose useful work is read from outside.
 *
 * HTTP on port 80, one thread a connection:
 *   GET /                       "ok NAME SERVED" after w units of work (?w=N, default 1)
 *   GET /stats                  JSON: ticks (units of background work done), CPU, memory, faults
 *   GET /set?cpu=&thr=&ws=&mem=&dirty=   change the background workload, answers as /stats:
 *       cpu    share of each thread's time wanted, in percent (0: idle)
 *       thr    threads that work, one a vCPU is usual
 *       ws     working set of a unit in MiB (0: pure arithmetic)
 *       mem    MiB held;  dirty  MiB/s of them rewritten
 *   GET /blob?kb=N              sends N KiB;   GET /sink?kb=N swallows N KiB (no zero bytes) sent
 *                               after the header
 *   GET /disk?mb=&bs=&rw=r|w    O_DIRECT requests of bs KiB on /dev/vda, timed
 *
 * The background threads yield to the HTTP threads (SCHED_IDLE, nice), so that a question is
 * answered quickly however busy the guest is, and the counters stay readable.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 16
#define SLICE_S .01

struct worker {                 /* one cache line and more each: threads must not slow each other */
    volatile unsigned long ticks;
    unsigned x;
    char *set;
    int set_mib;
    char pad[96];
};

static struct worker workers[MAX_THREADS];
static volatile int cpu_pct, n_threads = 1, set_mib, held_mib, dirty_mib_s;
static volatile unsigned long served;
static volatile unsigned sink;
static char name[64];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void nap(double s) {
    if (s <= 0) return;
    struct timespec t = {(time_t)s, (long)((s - (long)s) * 1e9)};
    nanosleep(&t, NULL);
}

/* One tick of work: arithmetic, or random writes over the working set. */
static void unit(struct worker *w) {
    unsigned x = w->x;
    if (set_mib != w->set_mib) {
        free(w->set);
        w->set_mib = set_mib;
        w->set = set_mib ? malloc((size_t)set_mib << 20) : NULL;
        if (w->set) memset(w->set, 1, (size_t)w->set_mib << 20);
    }
    if (w->set) {
        unsigned size = (unsigned)w->set_mib << 20;
        for (int i = 0; i < 2000; i++) {
            x = x * 1664525u + 1013904223u;
            w->set[(x >> 4) % size]++;
        }
    } else {
        for (int i = 0; i < 20000; i++) x = x * 1664525u + 1013904223u;
    }
    w->x = x;
    sink = x;
}

/* Works cpu_pct of the time in slices of wall time: time lost to neighbours is not made up for. */
static void *burner(void *arg) {
    struct worker *w = arg;
    long id = w - workers;
    struct sched_param lowest = {0};
    sched_setscheduler(0, SCHED_IDLE, &lowest);
    w->x = 1 + (unsigned)id;
    for (;;) {
        int pct = cpu_pct;
        if (pct <= 0 || id >= n_threads) {
            nap(.02);
            continue;
        }
        double start = now();
        do {
            unit(w);
            w->ticks++;
        } while (now() - start < SLICE_S);
        if (pct < 100) nap((now() - start) * (100 - pct) / pct);
    }
    return NULL;
}

/* Holds held_mib MiB and rewrites dirty_mib_s MiB of them a second, in 20 slices. */
static void *toucher(void *arg) {
    char *held = NULL;
    int have = 0, refused = 0;
    size_t at = 0;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
    for (;;) {
        int want = held_mib;
        if (want != have && want != refused) {
            free(held);
            held = want > 0 ? malloc((size_t)want << 20) : NULL;
            have = held ? want : 0;
            refused = have == want ? -1 : want;
            at = 0;
            if (held) memset(held, 1, (size_t)have << 20);
        }
        double start = now();
        size_t slice = have ? ((size_t)dirty_mib_s << 20) / 20 : 0;
        for (int i = 0; i < 20 && held_mib == want; i++) {
            for (size_t done = 0; done < slice; done += 4096) {
                held[at]++;
                at += 4096;
                if (at >= (size_t)have << 20) at = 0;
            }
            nap(start + (i + 1) * .05 - now());
        }
    }
    return arg;
}

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
    unsigned long ticks = 0;
    for (int i = 0; i < MAX_THREADS; i++) ticks += workers[i].ticks;
    return snprintf(to, size,
        "{\"name\":\"%s\",\"t\":%.3f,\"ticks\":%lu,\"served\":%lu,"
        "\"user\":%ld,\"sys\":%ld,\"idle\":%ld,\"steal\":%ld,\"ncpu\":%ld,"
        "\"memtotal_kb\":%ld,\"memavail_kb\":%ld,\"swapfree_kb\":%ld,"
        "\"majflt\":%ld,\"swapout\":%ld,\"oom\":%ld,"
        "\"cpu\":%d,\"thr\":%d,\"ws\":%d,\"mem\":%d,\"dirty\":%d}\n",
        name, now(), ticks, served,
        field("/proc/stat", "cpu ", 0), field("/proc/stat", "cpu ", 2),
        field("/proc/stat", "cpu ", 3), field("/proc/stat", "cpu ", 7),
        sysconf(_SC_NPROCESSORS_ONLN),
        field("/proc/meminfo", "MemTotal:", 0), field("/proc/meminfo", "MemAvailable:", 0),
        field("/proc/meminfo", "SwapFree:", 0),
        field("/proc/vmstat", "pgmajfault ", 0), field("/proc/vmstat", "pswpout ", 0),
        field("/proc/vmstat", "oom_kill ", 0),
        cpu_pct, n_threads, set_mib, held_mib, dirty_mib_s);
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
    cpu_pct = bounded(arg(request, "cpu", cpu_pct), 0, 100);
    n_threads = bounded(arg(request, "thr", n_threads), 0, MAX_THREADS);
    set_mib = bounded(arg(request, "ws", set_mib), 0, 2048);
    held_mib = bounded(arg(request, "mem", held_mib), 0, 65536);
    dirty_mib_s = bounded(arg(request, "dirty", dirty_mib_s), 0, 65536);
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
            struct worker own = {.x = 1};
            for (int i = arg(request, "w", 1); i > 0; i--) unit(&own);
            free(own.set);
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

static void start(void *(*run)(void *), void *argument) {
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 << 10);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, run, argument) && run == connection)
        close((int)(long)argument);
    pthread_attr_destroy(&attr);
}

int main(int argc, char **argv) {              /* guestd CPU_PCT THREADS */
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(80)};
    gethostname(name, sizeof name - 1);
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) cpu_pct = bounded(atoi(argv[1]), 0, 100);
    if (argc > 2) n_threads = bounded(atoi(argv[2]), 0, MAX_THREADS);
    for (int i = 0; i < MAX_THREADS; i++) start(burner, &workers[i]);
    start(toucher, NULL);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&any, sizeof any) || listen(s, 128)) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int fd = accept(s, NULL, NULL);
        if (fd >= 0) start(connection, (void *)(long)fd);
    }
}
