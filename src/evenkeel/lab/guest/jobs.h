/* What a lab guest does all day: jobs whose useful work is counted. See jobs.c. */
#ifndef JOBS_H
#define JOBS_H

#define MAX_THREADS 16
#define N_JOBS 8

struct knobs {
    int cpu;        /* share of each thread's time wanted, in percent (0: idle) */
    int thr;        /* threads that work */
    int ws;         /* working set of a thread in MiB (0: pure arithmetic) */
    int job;        /* which of the jobs in jobs.c */
    int burst;      /* mean length of working and of idle spells in ms (0: steady) */
    int mem;        /* MiB held by the toucher */
    int dirty;      /* MiB/s of them rewritten */
};

extern volatile struct knobs knobs;

double now(void);
void nap(double s);
void arithmetic(int n);
void start_jobs(const char *peer);
unsigned long ticks_done(void);
double busy_s(void);
void *toucher(void *arg);
void start_thread(void *(*run)(void *), void *argument);
#endif
