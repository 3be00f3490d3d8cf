/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two operations and three daemons, of which two die at any moment (client/ring_recovery.h). The second operation has a
 * fence, and stores to the first one's source. The caller uses the memory of an operation for something else as soon as
 * that is complete. Each operation completes once; none is lost; nobody stores for one that is complete; and none is
 * carried out before, or again after, one from which a fence divides it.
 *
 * The kernel kills a daemon in three steps: the session's socket hangs up, since another process holds it; the thread
 * that stores is stopped at any step of its own; the event channel hangs up. Claiming and taking back are one step each
 * (take_back.pml has theirs). Each of these breaks it: to believe the session's socket (NO_PROOF); to put back before
 * reaping (NO_REAP), out of order (NO_ORDER), or what was taken back (NO_DROP); to lose what was claimed (NO_REPEAT).
 */
#define OPERATIONS 2
#define DAEMONS    3

mtype = { waiting, in_flight, taken_back, complete };
mtype state[OPERATIONS] = waiting;
byte deaths[OPERATIONS];
bool reused[OPERATIONS];        /* by the caller */
bool stored[OPERATIONS];        /* some of it, by anyone */
bool carried_out[OPERATIONS];   /* all of it, by anyone */

byte ring[DAEMONS * OPERATIONS]; /* operations by position */
byte published[DAEMONS], completed[DAEMONS];
bool claimed[OPERATIONS];
bool socket_up[DAEMONS] = true, channel_up[DAEMONS] = true, stopping[DAEMONS];

inline store(operation) {
	assert(!reused[operation]);
	assert(operation == 1 || !stored[1]);
	assert(operation == 0 || carried_out[0]);
	stored[operation] = true
}

/* A daemon's thread. */
proctype worker(byte self) {
	byte position = 0, operation;
	bool mine;

	{
end:		do
		:: position < published[self] ->
			atomic { /* consumer_claim() */
				operation = ring[self * OPERATIONS + position];
				mine = state[operation] != taken_back;
				claimed[operation] = true
			};
			if
			:: mine ->
				atomic { store(operation) };
				atomic { store(operation); carried_out[operation] = true }
			:: else
			fi;
			position++;
			completed[self] = position /* consumer_complete() */
		od
	} unless {
		stopping[self]
	};
	channel_up[self] = false
}

proctype kernel() {
	byte victim = 0;

	do
	:: victim < DAEMONS - 1 ->
		socket_up[victim] = false;
		stopping[victim] = true;
		victim++
	:: break
	od
}

#ifdef NO_PROOF
#define HUNG_UP !socket_up[daemon]
#else
#define HUNG_UP !channel_up[daemon]
#endif

inline report(operation) {
	assert(!reused[operation]);
	reused[operation] = true
}

/* ring_reap(), of one completion */
inline reap() {
	operation = ring[daemon * OPERATIONS + reaped];
	reaped++;
	if
	:: state[operation] == in_flight -> report(operation)
	:: else /* reported when it was taken back */
	fi;
	state[operation] = complete
}

/* put_all_back(), of one operation */
inline put_back(operation) {
	if
#ifdef NO_DROP
	:: state[operation] == in_flight || state[operation] == taken_back ->
#else
	:: state[operation] == taken_back -> state[operation] = complete
	:: state[operation] == in_flight ->
#endif
#ifdef NO_REPEAT
		state[operation] = (claimed[operation] -> complete : waiting);
#else
		state[operation] = waiting;
#endif
		claimed[operation] = false;
		deaths[operation]++
	:: else
	fi
}

/* In this process, by the client's thread. */
inline carry_out(operation) {
	atomic { store(operation) };
	atomic { store(operation); carried_out[operation] = true; report(operation) }
}

#ifdef NO_ORDER
#define IS_NEXT(n) (state[n] == waiting)
#else
#define IS_NEXT(n) (state[n] == waiting && (n == 0 || state[0] != waiting))
#endif
#define MAY_RUN_HERE(n) (IS_NEXT(n) && state[0] != in_flight && state[1] != in_flight)
/* not while the fence has not begun */
#define MAY_TAKE(n) \
	(state[n] == in_flight && !claimed[n] && (n == 0 -> state[1] != in_flight : state[0] == complete))

/* The library, and the caller of its ring. */
proctype client() {
	byte daemon = 0, reaped = 0, operation, n;
	bool connected = true;

again:	do
	:: atomic { connected && IS_NEXT(0) && deaths[0] < 2 -> n = 0 }; goto publish
	:: atomic { connected && IS_NEXT(1) && deaths[1] < 2 -> n = 1 }; goto publish
	:: atomic { MAY_RUN_HERE(0) && (!connected || deaths[0] == 2) -> n = 0 }; goto run_here
	:: atomic { MAY_RUN_HERE(1) && (!connected || deaths[1] == 2) -> n = 1 }; goto run_here
	:: atomic { connected && MAY_TAKE(0) -> state[0] = taken_back }; carry_out(0)
	:: atomic { connected && MAY_TAKE(1) -> state[1] = taken_back }; carry_out(1)
	:: atomic { connected && reaped < completed[daemon] -> reap() }
	:: connected && HUNG_UP -> /* ring_lost() */
#ifndef NO_REAP
		atomic {
			do
			:: reaped < completed[daemon] -> reap()
			:: else -> break
			od
		};
#endif
		atomic { put_back(0); put_back(1); connected = false }
	:: atomic { !connected && daemon < DAEMONS - 1 -> daemon++; reaped = 0; connected = true }
	:: reused[0] && reused[1] -> break
	od;
	goto over;
publish:
	atomic {
		ring[daemon * OPERATIONS + published[daemon]] = n;
		state[n] = in_flight;
		published[daemon]++
	};
	goto again;
run_here:
	carry_out(n);
	state[n] = complete;
	goto again;
over:
	assert(carried_out[0] && carried_out[1])
}

init {
	atomic {
		run worker(0);
		run worker(1);
		run worker(2);
		run kernel();
		run client();
	}
}
