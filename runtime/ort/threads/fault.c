#define _GNU_SOURCE
#include "fault.h"

#ifdef __linux__
#include <link.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

enum { SIGNALS = 5, MOST_LOST = 8 };

static const int signals[SIGNALS] = {SIGFPE, SIGSEGV, SIGBUS, SIGILL, SIGABRT};
static struct sigaction before[SIGNALS];
static uintptr_t own_from, own_to; // this program's own code, Go's above all

// A place is where a run says what became of it.
typedef struct {
	int done;
	atomic_int told; // a signal ended the run
} Place;

static _Thread_local Place *here;   // of the run of this thread; NULL between runs
static _Thread_local int uncounted; // by fault_alone

// How many runs there are, and the sum of their places: that of the only one.
static atomic_int runs;
static atomic_uintptr_t places;
static atomic_int lost; // threads
static atomic_int damage;

static int find_own(struct dl_phdr_info *info, size_t size, void *unused) {
	(void)size, (void)unused;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
		uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, to = from + info->dlpi_phdr[i].p_memsz;
		if ((uintptr_t)find_own >= from && (uintptr_t)find_own < to) {
			own_from = from;
			own_to = to;
			return 1;
		}
	}
	return 0;
}

static uintptr_t counter(const ucontext_t *c) {
#if defined(__x86_64__)
	return (uintptr_t)c->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return (uintptr_t)c->uc_mcontext.pc;
#else
	(void)c;
	return own_from;
#endif
}

static void pass_on(int sig, siginfo_t *info, void *context) {
	for (int i = 0; i < SIGNALS; i++) {
		if (signals[i] != sig) continue;
		if ((before[i].sa_flags & SA_SIGINFO) != 0) {
			before[i].sa_sigaction(sig, info, context);
		} else if (before[i].sa_handler == SIG_DFL || before[i].sa_handler == SIG_IGN) {
			sigaction(sig, &before[i], NULL); // and it comes again
		} else {
			before[i].sa_handler(sig);
		}
	}
}

static void handle(int sig, siginfo_t *info, void *context) {
	Place *p = here;
	if (info->si_code <= 0 && info->si_pid != getpid()) { // somebody sent it
		pass_on(sig, info, context);
		return;
	}
	int intra_op = p == NULL;
	uintptr_t at = counter(context);
	if (intra_op && (at < own_from || at >= own_to) && atomic_load(&runs) == 1) p = (Place *)atomic_load(&places);
	if (p == NULL) {
		pass_on(sig, info, context);
		return;
	}
	if (sig != SIGFPE || intra_op || atomic_fetch_add(&lost, 1) + 1 >= MOST_LOST) atomic_store(&damage, sig);
	if (atomic_exchange(&p->told, 1) == 0) {
		char number = (char)sig;
		(void)!write(p->done, &number, 1);
	}
	for (;;) pause();
}

void fault_watch(void) {
	dl_iterate_phdr(find_own, NULL);
	for (int i = 0; i < SIGNALS; i++) {
		struct sigaction a = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
		a.sa_sigaction = handle;
		sigfillset(&a.sa_mask);
		sigaction(signals[i], &a, &before[i]);
	}
}

// stack gives this thread one for signals: it may be that it got one since its own is full.
static void stack(void) {
	enum { SIZE = 64 << 10 };
	stack_t s = {.ss_size = SIZE, .ss_sp = malloc(SIZE)};
	if (s.ss_sp != NULL) sigaltstack(&s, NULL);
}

static _Thread_local Place own;

void fault_begin(int done) {
	if (own.done == 0) stack();
	own.done = done;
	uncounted = 0;
	here = &own;
	atomic_fetch_add(&places, (uintptr_t)&own);
	atomic_fetch_add(&runs, 1);
}

void fault_alone(void) {
	if (here == NULL || uncounted) return;
	uncounted = 1;
	atomic_fetch_sub(&runs, 1);
	atomic_fetch_sub(&places, (uintptr_t)here);
}

void fault_end(void) {
	fault_alone();
	here = NULL;
}

int fault_damage(void) { return atomic_load(&damage); }

#else
void fault_watch(void) {}
void fault_begin(int done) { (void)done; }
void fault_alone(void) {}
void fault_end(void) {}
int fault_damage(void) { return 0; }
#endif
