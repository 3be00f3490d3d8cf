/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Three operations. X: the daemon is about to begin it, and the client, which waits for it, takes it back at any moment.
 * F: a fence behind X, which the client may publish at any moment. Y: behind F, and of a kind that the client itself
 * carries out. X is carried out exactly once, before F begins, and Y after that, whatever the interleaving.
 *
 * Store buffers as in ring.pml: a store becomes visible at any time later, a full barrier waits for it. Each of these
 * breaks it: without one of the two barriers (NO_CLAIM_BARRIER, NO_TAKE_BARRIER) X is carried out twice; if F is
 * published while X is contested (NO_CONTEST_RULE), then F begins before X has been carried out; if Y does not wait
 * until as many completions have been reaped as there are operations up to F (NO_ORDER_RULE), it runs before F.
 */
bool claimed, taken;            /* as the other side sees them */
bool claim_buffered, take_buffered;
byte carried_out;               /* how often X has been */
mtype = { nothing, done, found_taken };
mtype completion = nothing;     /* of X */
bool f_published, f_begun;
byte completed;                 /* completions that the daemon has posted */

proctype drain() {
end:	do
	:: atomic { claim_buffered -> claimed = true; claim_buffered = false }
	:: atomic { take_buffered -> taken = true; take_buffered = false }
	od
}

/* consumer_claim() and what follows it */
proctype worker() {
	claim_buffered = true;
#ifndef NO_CLAIM_BARRIER
	!claim_buffered;
#endif
	if
	:: taken -> completion = found_taken
	:: else -> carried_out++; completion = done
	fi;
	completed = 1;
	f_published; /* its turn: all earlier ones are complete, as this side sees it */
	f_begun = true;
	assert(carried_out == 1);
	completed = 2
}

#ifdef NO_CONTEST_RULE
#define MAY_PUBLISH true
#else
#define MAY_PUBLISH !contested
#endif

#ifdef NO_ORDER_RULE
#define SETTLED true
#else
#define SETTLED reaped == 2
#endif

proctype client() {
	byte reaped = 0;
	bool tried = false, mine = false, contested = false, y_done = false;

	do
	:: !tried && reaped == 0 && !f_published -> /* ring_take_back() */
		tried = true;
		take_buffered = true;
#ifndef NO_TAKE_BARRIER
		!take_buffered;
#endif
		if
		:: !claimed -> mine = true; carried_out++
		:: else -> contested = true
		fi
	:: !f_published && MAY_PUBLISH -> f_published = true /* ring_advance() */
	:: reaped < completed -> /* ring_reap() */
		if
		:: reaped == 0 && completion == found_taken && !mine -> carried_out++ /* carry_out() */
		:: else
		fi;
		contested = false;
		reaped++
	:: f_published && !y_done && SETTLED -> /* ring_order_settled() */
		assert(f_begun && carried_out == 1);
		y_done = true
	:: reaped == 2 && y_done -> break
	od;
	assert(carried_out == 1)
}

init {
	atomic {
		run drain();
		run worker();
		run client();
	}
}
