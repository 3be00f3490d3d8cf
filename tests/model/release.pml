/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread releases a region while another one, which owns a ring, looks it up and works on it, twice (client/activity.h).
 * After the release the region is not used any more, and the releasing thread is not left asleep.
 *
 * The ring's stores go through a buffer, first in first out; it passes no barrier of its own. The releasing thread has
 * the kernel drain that buffer (membarrier(2)); without that (NO_RELEASE_BARRIER) it misses a ring that has entered.
 * If it does not look again after it has said that it waits (NO_SECOND_LOOK), it sleeps for ever.
 */
chan buffer = [4] of { bit };
bit activity;                   /* odd while the ring uses regions; as others see it */
bool changed;                   /* the region has been taken out of the list */
bool awaited;                   /* activities::awaiting */
bool asleep, told;              /* pthread_cond_wait(), and that it has been woken */
bool released;

proctype drain() {
	bit value;

end:	do
	:: atomic { buffer?value -> activity = value }
	od
}

proctype ring() {
	byte round = 0;

	do
	:: round < 2 ->
		buffer!1; /* activity_enter() */
		if
		:: !changed -> /* found: it is used for a while */
			assert(!released);
			skip;
			assert(!released)
		:: else
		fi;
		buffer!0; /* activity_leave() */
		if
		:: awaited -> /* a mutex is a barrier too */
			empty(buffer);
			atomic { told = told || asleep; asleep = false }
		:: else
		fi;
		round++
	:: else -> break
	od
}

proctype releaser() {
	bool inside;

	changed = true;
#ifdef NO_SECOND_LOOK
	inside = activity;
#endif
	awaited = true;
#ifndef NO_RELEASE_BARRIER
	empty(buffer);
#endif
	do
	:: atomic { /* holding the lock */
#ifndef NO_SECOND_LOOK
		inside = activity;
#endif
		if
		:: inside -> asleep = true
		:: else -> break
		fi };
		atomic { told -> told = false }
#ifdef NO_SECOND_LOOK
		; inside = activity
#endif
	od;
	released = true
}

init {
	atomic {
		run drain();
		run ring();
		run releaser();
	}
}
