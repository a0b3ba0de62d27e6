/* The jobs of a lab guest. A tick is one unit of useful work, whatever the job:
 *
 *   0 cpu      20,000 steps of arithmetic, or 2,000 random writes over a working set of ws MiB
 *   1 read     a random 16 KiB block of /dev/vda, past the page cache
 *   2 write    the same, written
 *   3 send     64 KiB to the peer          4 receive   64 KiB from the peer
 *   5 cached   8 random pages of /dev/vda through the page cache: reclaim where memory is short
 *   6 mixed    twelve units of arithmetic, one block written, 16 KiB sent
 *   7 pages    32 random pages of the working set: swapping where it is larger than memory
 *
 * A thread works knobs.cpu percent of the time, in slices of wall time that begin when they are due,
 * not when it gets a CPU: what neighbours take is not made up for, so ticks per second of wall time
 * show the loss. The rests between slices last 0 to 2 times their mean, each thread's in an order of
 * its own, so that no two guests keep step. With knobs.burst it works at that rate in random spells,
 * half of the time. The background threads yield to the HTTP threads (SCHED_IDLE), so that a
 * question is answered quickly however busy the guest is.
 *
 * What was done is told to evenkeel-guest, the profiler, as any application would tell it.
 */
#define _GNU_SOURCE
#include "jobs.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SLICE_S .01
#define DECK 16                 /* rests that add up to the same in any order */
#define PEER_PORT 7070
#define BLOCK (16 << 10)
#define CHUNK (64 << 10)
#define PAGE 4096
#define PROFILER "/run/evenkeel-guest.sock"

struct worker {                 /* two cache lines and more each: threads must not slow each other */
    volatile unsigned long ticks;
    volatile double busy_s;
    unsigned x;
    char *set;
    int set_mib;
    int disk, disk_job;         /* open file and the job it was opened for */
    int peer, peer_job;
    unsigned long disk_bytes;
    char *block;
    double spell_end;
    int resting;
    unsigned char deck[DECK];   /* lengths of rests, shuffled anew when all are dealt */
    int left;
    char pad[96];
};

volatile struct knobs knobs = {.thr = 1};
static struct worker workers[MAX_THREADS];
static volatile unsigned sink;
static char peer_address[64];

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

void nap(double s) {
    if (s <= 0) return;
    struct timespec t = {(time_t)s, (long)((s - (long)s) * 1e9)};
    nanosleep(&t, NULL);
}

unsigned long ticks_done(void) {
    unsigned long ticks = 0;
    for (int i = 0; i < MAX_THREADS; i++) ticks += workers[i].ticks;
    return ticks;
}

double busy_s(void) {
    double s = 0;
    for (int i = 0; i < MAX_THREADS; i++) s += workers[i].busy_s;
    return s;
}

static unsigned next(struct worker *w) { return w->x = w->x * 1664525u + 1013904223u; }

/* A number below n from the high bits, which are the random ones. */
static unsigned below(struct worker *w, unsigned n) {
    return (unsigned)(((unsigned long)next(w) * n) >> 32);
}

static int has_set(struct worker *w) {
    if (knobs.ws != w->set_mib) {
        free(w->set);
        w->set_mib = knobs.ws;
        w->set = w->set_mib ? malloc((size_t)w->set_mib << 20) : NULL;
        if (w->set) memset(w->set, 1, (size_t)w->set_mib << 20);
    }
    return w->set != NULL;
}

void arithmetic(int n) {
    unsigned x = (unsigned)n;
    for (int i = 0; i < n * 20000; i++) x = x * 1664525u + 1013904223u;
    sink = x;
}

static void compute(struct worker *w) {
    if (!has_set(w)) {
        arithmetic(1);
        return;
    }
    unsigned size = (unsigned)w->set_mib << 20;
    for (int i = 0; i < 2000; i++) w->set[below(w, size)]++;
}

static int touch_pages(struct worker *w) {
    if (!has_set(w)) return 0;
    unsigned pages = ((unsigned)w->set_mib << 20) / PAGE;
    for (int i = 0; i < 32; i++) w->set[(size_t)below(w, pages) * PAGE]++;
    return 1;
}

/* The disk, opened as the job wants it; -1 without one. */
static int disk_for(struct worker *w, int job) {
    if (w->disk_job != job) {
        if (w->disk > 0) close(w->disk);
        int flags = job == 1 ? O_RDONLY | O_DIRECT : job == 5 ? O_RDONLY : O_WRONLY | O_DIRECT;
        w->disk = open("/dev/vda", flags);
        w->disk_job = job;
        if (w->disk < 0 || ioctl(w->disk, BLKGETSIZE64, &w->disk_bytes)) w->disk_bytes = 0;
        if (job == 5 && w->disk >= 0) posix_fadvise(w->disk, 0, 0, POSIX_FADV_RANDOM);
    }
    return w->disk_bytes >= BLOCK ? w->disk : -1;
}

static int use_block(struct worker *w, int job) {
    int disk = disk_for(w, job);
    if (disk < 0) return 0;
    off_t at = (off_t)below(w, (unsigned)(w->disk_bytes / BLOCK)) * BLOCK;
    ssize_t n = job == 1 ? pread(disk, w->block, BLOCK, at) : pwrite(disk, w->block, BLOCK, at);
    return n == BLOCK;
}

static int read_cached(struct worker *w) {
    int disk = disk_for(w, 5);
    if (disk < 0) return 0;
    unsigned pages = (unsigned)(w->disk_bytes / PAGE);
    for (int i = 0; i < 8; i++)
        if (pread(disk, w->block, PAGE, (off_t)below(w, pages) * PAGE) != PAGE) return 0;
    return 1;
}

/* A stream to the peer outside: 'R' before what it is to receive, 'S' asks it to send. */
static int peer_for(struct worker *w, int job) {
    if (w->peer_job == job && w->peer > 0) return w->peer;
    if (w->peer > 0) close(w->peer);
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(PEER_PORT)};
    struct timeval patience = {.tv_sec = 2};
    w->peer_job = job;
    w->peer = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(w->peer, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(w->peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (w->peer < 0 || inet_pton(AF_INET, peer_address, &there.sin_addr) != 1 ||
        connect(w->peer, (struct sockaddr *)&there, sizeof there) ||
        send(w->peer, job == 4 ? "S" : "R", 1, MSG_NOSIGNAL) != 1) {
        if (w->peer >= 0) close(w->peer);
        w->peer = 0;
    }
    return w->peer > 0 ? w->peer : -1;
}

static int move_bytes(struct worker *w, int job, size_t size) {
    int peer = peer_for(w, job);
    for (size_t done = 0; peer >= 0 && done < size;) {
        ssize_t n = job == 4 ? recv(peer, w->block, size - done, 0)
                             : send(peer, w->block, size - done, MSG_NOSIGNAL);
        if (n <= 0) {                       /* it went away, or says nothing: start anew */
            close(w->peer);
            w->peer = 0;
            return 0;
        }
        done += (size_t)n;
    }
    return peer >= 0;
}

static int mixed(struct worker *w) {
    for (int i = 0; i < 12; i++) compute(w);
    return use_block(w, 2) && move_bytes(w, 3, BLOCK);
}

/* One tick of the job; 0 when it could not be done. */
static int unit(struct worker *w, int job) {
    switch (job) {
    case 1: case 2: return use_block(w, job);
    case 3: case 4: return move_bytes(w, job, CHUNK);
    case 5: return read_cached(w);
    case 6: return mixed(w);
    case 7: return touch_pages(w);
    default: compute(w); return 1;
    }
}

/* Whether this spell is one of rest; spells last .8 to 1.2 times knobs.burst, so that two guests
 * do not keep step and yet the share of work in some seconds is steady. */
static int rests(struct worker *w) {
    if (knobs.burst <= 0) return 0;
    double t = now();
    if (t >= w->spell_end) {
        w->resting = !w->resting;
        w->spell_end = t + knobs.burst / 1e3 * (.8 + .4 * below(w, 1 << 20) / (1 << 20));
    }
    return w->resting;
}

/* How long the next rest is, as a multiple of the mean. */
static double deal(struct worker *w) {
    if (!w->left) {
        for (int i = 0; i < DECK; i++) {
            unsigned at = below(w, (unsigned)i + 1);
            w->deck[i] = w->deck[at];
            w->deck[at] = (unsigned char)i;
        }
        w->left = DECK;
    }
    return (w->deck[--w->left] + .5) * 2 / DECK;
}

static void *work(void *arg) {
    struct worker *w = arg;
    long id = w - workers;
    struct sched_param lowest = {0};
    sched_setscheduler(0, SCHED_IDLE, &lowest);
    if (getrandom(&w->x, sizeof w->x, GRND_NONBLOCK) != sizeof w->x)
        w->x = (unsigned)(now() * 1e9) + (unsigned)id;     /* early in a boot there is no entropy */
    if (posix_memalign((void **)&w->block, PAGE, CHUNK)) return NULL;
    memset(w->block, 1, CHUNK);
    for (double due = 0;;) {
        int pct = knobs.cpu, job = knobs.job;
        if (pct <= 0 || id >= knobs.thr || rests(w)) {
            nap(id >= knobs.thr ? .2 : pct <= 0 ? .05 : .005);   /* looking up costs, too */
            due = 0;
            continue;
        }
        double start = now(), end;
        int works = 1;
        if (due <= 0) due = start;
        do {
            works = unit(w, job);
            if (works) w->ticks++;
        } while ((end = now()) - start < SLICE_S && works);
        w->busy_s += end - due;             /* waiting for a CPU is part of the work's time */
        double idle = works ? (end - due) * (100 - pct) / pct * deal(w) : .05;
        nap(idle);
        due = end + idle;
    }
    return NULL;
}

/* Tells the profiler what was done, as an application would; nobody listening is no matter. */
static void *teller(void *arg) {
    struct sockaddr_un there = {.sun_family = AF_UNIX, .sun_path = PROFILER};
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    unsigned long told = 0;
    double told_s = 0;
    for (;;) {
        nap(.1);
        unsigned long ticks = ticks_done(), new = ticks - told;
        double busy = busy_s();
        char text[128];
        int n = snprintf(text, sizeof text, "work %lu\n", new);
        if (new)
            n += snprintf(text + n, sizeof text - (size_t)n, "latency_ms %.9f %lu\n",
                          (busy - told_s) * 1e3 / (double)new, new);
        if (sendto(s, text, (size_t)n, 0, (struct sockaddr *)&there, sizeof there) == n) {
            told = ticks;
            told_s = busy;
        }
    }
    return arg;
}

/* Holds knobs.mem MiB and rewrites knobs.dirty MiB of them a second, in 20 slices. */
void *toucher(void *arg) {
    char *held = NULL;
    int have = 0, refused = 0;
    size_t at = 0;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
    for (;;) {
        int want = knobs.mem;
        if (want != have && want != refused) {
            free(held);
            held = want > 0 ? malloc((size_t)want << 20) : NULL;
            have = held ? want : 0;
            refused = have == want ? -1 : want;
            at = 0;
            if (held) memset(held, 1, (size_t)have << 20);
        }
        double start = now();
        size_t slice = have ? ((size_t)knobs.dirty << 20) / 20 : 0;
        for (int i = 0; i < 20 && knobs.mem == want; i++) {
            for (size_t done = 0; done < slice; done += PAGE) {
                held[at]++;
                at += PAGE;
                if (at >= (size_t)have << 20) at = 0;
            }
            nap(start + (i + 1) * .05 - now());
        }
    }
    return arg;
}

void start_jobs(const char *peer) {
    snprintf(peer_address, sizeof peer_address, "%s", peer);
    for (int i = 0; i < MAX_THREADS; i++) start_thread(work, &workers[i]);
    start_thread(toucher, NULL);
    start_thread(teller, NULL);
}
