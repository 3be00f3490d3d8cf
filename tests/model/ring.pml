/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring of proto/ring.h with both sleepers: a client that submits and waits, a worker that polls, retires
 * the ring to its doorbell and sleeps. Checked exhaustively: no operation is lost, duplicated or read before it
 * is written, and neither side sleeps for ever.
 *
 * Memory: each side's stores go through a store buffer (x86-TSO, Owens, Sarkar, Sewell, TPHOLs 2009), which
 * drains in order at any time; a full barrier waits until it is empty. Remove one of them (define
 * NO_SUBMIT_BARRIER, NO_RETIRE_BARRIER, NO_ARM_BARRIER or NO_SIGNAL_BARRIER) and a wake-up is lost: the check
 * has to fail then, which shows that it can. With ASYMMETRIC the client passes no barrier when it submits, and the
 * worker passes one for both when it retires the ring.
 *
 * The client begins before the daemon has prepared the completions and announced that it wants a doorbell: until then
 * the completion file is zero. Without the barrier or the look at the ring when it is added (NO_ADD_BARRIER, NO_ADD_LOOK)
 * a wake-up is lost, too; and if the ring begins at the last position (FIRST=7), a zero looks like a completion.
 *
 * Sequence words are those of the protocol, modulo 8 here: position + 1 when ready, position + 1 - ENTRIES
 * before; they begin as near to the wrap as a ring may.
 */
#ifndef ENTRIES
#define ENTRIES 2
#endif
#ifndef OPERATIONS
#define OPERATIONS 4
#endif
#define MODULUS 8
#ifndef FIRST
#define FIRST 6
#endif
#define MOD(x) ((x) & (MODULUS - 1))

/* Shared memory, as the other side sees it. */
byte sq[ENTRIES];      /* sequence words of descriptors */
byte payload[ENTRIES]; /* what they say: the number of the operation */
byte cq[ENTRIES];
byte answer[ENTRIES];
byte bell;             /* doorbell_wanted: 0, or the number of the retirement, modulo */
byte arm;              /* client_line->arm, modulo */

/* Kernel objects: their calls are full barriers for the caller, and order with each other. */
bool doorbell;         /* edge pending in epoll */
bool signal;           /* message in the socket */

/* Store buffers: (address, value) pairs. */
#define A_SQ 0
#define A_PAYLOAD 8
#define A_CQ 16
#define A_ANSWER 24
#define A_BELL 32
#define A_ARM 33
chan client_buffer = [4] of { byte, byte };
chan worker_buffer = [4] of { byte, byte };

byte completed;        /* operations that the client has seen */

inline commit(address, value) {
	if
	:: address == A_BELL -> bell = value
	:: address == A_ARM -> arm = value
	:: address >= A_ANSWER && address < A_BELL -> answer[address - A_ANSWER] = value
	:: address >= A_CQ && address < A_ANSWER -> cq[address - A_CQ] = value
	:: address >= A_PAYLOAD && address < A_CQ -> payload[address - A_PAYLOAD] = value
	:: address < A_PAYLOAD -> sq[address] = value
	fi
}

/* The hardware drains the buffers whenever it likes. */
proctype drain_client() {
	byte a, v;
end:	do
	:: atomic { client_buffer?a, v -> commit(a, v) }
	od
}

proctype drain_worker() {
	byte a, v;
end:	do
	:: atomic { worker_buffer?a, v -> commit(a, v) }
	od
}

#define CLIENT_BARRIER (empty(client_buffer))
#define WORKER_BARRIER (empty(worker_buffer))

#define SLOT(p) ((p) & (ENTRIES - 1))

/* A load sees the own buffer first; neither side loads what it stores, except bell (never by the worker) and
 * arm (never by the client): so loads go to memory. */

proctype client() {
	byte sent = 0;       /* operations published */
	byte seen = 0;       /* completions reaped */
	byte rung = 0;       /* retirement that was rung for */
	byte arms = 0;
	byte wanted;

	do
	:: sent - seen < ENTRIES && sent < OPERATIONS ->
		/* vdm_ring_submit() */
		client_buffer!(A_PAYLOAD + SLOT(MOD(FIRST + sent))), sent;
		client_buffer!(A_SQ + SLOT(MOD(FIRST + sent))), MOD(FIRST + sent + 1);
		sent++;
#if !defined(NO_SUBMIT_BARRIER) && !defined(ASYMMETRIC)
		CLIENT_BARRIER;
#endif
		wanted = bell;
		if
		:: wanted != 0 && wanted != rung -> rung = wanted; CLIENT_BARRIER; doorbell = true
		:: else
		fi
	:: seen < sent ->
		/* vdm_ring_wait_cqes() */
		if
		:: cq[SLOT(MOD(FIRST + seen))] == MOD(FIRST + seen + 1) -> goto reap
		:: else
		fi;
		arms = MOD(arms + 1);
		client_buffer!A_ARM, arms;
#ifndef NO_ARM_BARRIER
		CLIENT_BARRIER;
#endif
		if
		:: cq[SLOT(MOD(FIRST + seen))] == MOD(FIRST + seen + 1) -> goto reap
		:: else
		fi;
		signal -> signal = false; /* sleep, for as long as it takes */
		goto again;
reap:		assert(answer[SLOT(MOD(FIRST + seen))] == seen); /* in order here: once each, none lost */
		seen++;
		completed++;
again:		skip
	:: seen == OPERATIONS -> break
	od
}

proctype worker() {
	byte head = 0;       /* operations taken */
	byte retirements = 1;
	byte signalled = 0;
	byte what, seen_arm, i;
	bool polled = false;

	/* vdm_completion_prepare() */
	for (i : 0 .. ENTRIES - 1) {
		worker_buffer!(A_CQ + SLOT(MOD(FIRST + i))), MOD(FIRST + i + 1 - ENTRIES)
	}
	/* engine_queue_add() */
	worker_buffer!A_BELL, retirements;
#ifndef NO_ADD_BARRIER
	WORKER_BARRIER;
#ifdef ASYMMETRIC
	CLIENT_BARRIER;
#endif
#endif
#ifndef NO_ADD_LOOK
	if
	:: sq[SLOT(MOD(FIRST + head))] == MOD(FIRST + head + 1) -> worker_buffer!A_BELL, 0; polled = true
	:: else
	fi;
#endif
end:	do
	:: !polled ->
end_sleep:	doorbell -> doorbell = false; /* epoll_wait(), for as long as it takes */
		worker_buffer!A_BELL, 0;
		polled = true
	:: polled && sq[SLOT(MOD(FIRST + head))] == MOD(FIRST + head + 1) ->
		what = payload[SLOT(MOD(FIRST + head))];
		assert(what == head); /* never an entry that has not been written, nor an old one */
		worker_buffer!(A_ANSWER + SLOT(MOD(FIRST + head))), what;
		worker_buffer!(A_CQ + SLOT(MOD(FIRST + head))), MOD(FIRST + head + 1);
		head++;
#ifndef NO_SIGNAL_BARRIER
		WORKER_BARRIER;
#endif
		seen_arm = arm;
		if
		:: seen_arm != signalled -> signalled = seen_arm; WORKER_BARRIER; signal = true
		:: else
		fi
	:: polled && sq[SLOT(MOD(FIRST + head))] != MOD(FIRST + head + 1) ->
		/* neither ready nor of the last lap would be a protocol violation */
		assert(sq[SLOT(MOD(FIRST + head))] == MOD(FIRST + head + 1) ||
		       sq[SLOT(MOD(FIRST + head))] == MOD(FIRST + head + 1 - ENTRIES));
		/* retire() */
		retirements = (retirements % 7) + 1;
		worker_buffer!A_BELL, retirements;
#ifndef NO_RETIRE_BARRIER
		WORKER_BARRIER;
#ifdef ASYMMETRIC
		CLIENT_BARRIER; /* barrier_for_all(): the client passes one as well, wherever it is */
#endif
#endif
		if
		:: sq[SLOT(MOD(FIRST + head))] == MOD(FIRST + head + 1) -> worker_buffer!A_BELL, 0
		:: else -> polled = false
		fi
	od
}

init {
	byte i;

	atomic {
		for (i : 0 .. ENTRIES - 1) {
			sq[SLOT(MOD(FIRST + i))] = MOD(FIRST + i + 1 - ENTRIES);
		}
		run drain_client();
		run drain_worker();
		run client();
		run worker();
	}
}

/* The client ends, having seen every operation: any other end of the system is an invalid end state, which
 * the verifier reports as a deadlock. */
