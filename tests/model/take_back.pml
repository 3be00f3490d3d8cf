/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One operation that the daemon is about to begin and that the client, who waits for it, takes back at any moment:
 * exactly one of them carries it out, or both see each other and then the client does, when it has been told.
 *
 * Store buffers as in ring.pml: a store becomes visible at any time later, a full barrier waits for it. Remove one of
 * the two barriers (NO_CLAIM_BARRIER, NO_TAKE_BARRIER) and both carry it out.
 */
bool claimed, taken;            /* as the other side sees them */
bool claim_buffered, take_buffered;
byte carried_out;               /* how often */
mtype = { nothing, done, found_taken };
mtype completion = nothing;
bool reported;

proctype drain() {
end:	do
	:: atomic { claim_buffered -> claimed = true; claim_buffered = false }
	:: atomic { take_buffered -> taken = true; take_buffered = false }
	od
}

/* queue_claim() and what follows it */
proctype worker() {
	claim_buffered = true;
#ifndef NO_CLAIM_BARRIER
	!claim_buffered;
#endif
	if
	:: taken -> completion = found_taken
	:: else -> carried_out++; completion = done
	fi
}

/* ring_take_back() and ring_reap() */
proctype client() {
	bool mine = false;

	if
	:: skip -> /* waits for long enough to try */
		take_buffered = true;
#ifndef NO_TAKE_BARRIER
		!take_buffered;
#endif
		if
		:: !claimed -> mine = true; carried_out++
		:: else
		fi
	:: skip
	fi;
	completion != nothing;
	if
	:: !mine && completion == found_taken -> carried_out++ /* ring_carry_out() */
	:: else
	fi;
	reported = true;
	assert(carried_out == 1)
}

init {
	atomic {
		run drain();
		run worker();
		run client();
	}
}
