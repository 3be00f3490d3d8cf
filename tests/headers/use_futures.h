/* SPDX-License-Identifier: BSD-3-Clause */
/* A program that uses every macro of the headers, in the words that C and C++ have in common. */
#include <libvdm/future.h>
#include <libvdm/movers.h>
#include <libvdm/runtime.h>
#include <libvdm/vdm.h>

struct step_data {
	int count;
};

struct step_output {
	int result;
};

FUTURE(step, struct step_data, struct step_output);

struct walk_data {
	FUTURE_CHAIN_ENTRY(struct step, first);
	FUTURE_CHAIN_ENTRY_LAST(struct vdm_operation_future, last);
};

FUTURE(walk, struct walk_data, struct step_output);

static inline enum future_state step_task(struct future_context *context,
					  struct future_notifier *notifier)
{
	struct step_data *data = (struct step_data *)future_context_get_data(context);

	if (notifier && notifier->notifier_used == FUTURE_NOTIFIER_WAKER)
		FUTURE_WAKER_WAKE(&notifier->waker);
	return --data->count > 0 ? FUTURE_STATE_RUNNING : FUTURE_STATE_COMPLETE;
}

static inline void step_init(void *future, struct future_context *chain, void *arg)
{
	struct step *step = (struct step *)future;

	(void)chain;
	step->data.count = *(int *)arg;
	FUTURE_INIT(step, step_task);
}

static inline int step_is_asynchronous(void *future, enum future_property property)
{
	(void)future;
	return property == FUTURE_PROPERTY_ASYNC;
}

static inline int use_futures(struct vdm *vdm, struct runtime *runtime, char *bytes, int count)
{
	struct step step;
	struct walk walk;

	step.data.count = count;
	FUTURE_INIT_EXT(&step, step_task, step_is_asynchronous);
	FUTURE_BUSY_POLL(&step);
	FUTURE_INIT_COMPLETE(&step);
	FUTURE_OUTPUT(&step)->result = 1;
	FUTURE_DATA(&step)->count = 1;
	FUTURE_CHAIN_ENTRY_LAZY_INIT(&walk.data.first, step_init, &count, NULL, NULL);
	FUTURE_CHAIN_ENTRY_INIT(&walk.data.last,
				vdm_memset(vdm, bytes, 'x', 1, VDM_F_NO_CACHE_HINT), NULL, NULL);
	FUTURE_CHAIN_INIT(&walk);
	runtime_wait(runtime, FUTURE_AS_RUNNABLE(&walk));
	return FUTURE_STATE(&walk) == FUTURE_STATE_COMPLETE &&
	       FUTURE_CHAIN_ENTRY_IS_LAST(&walk.data.last) &&
	       FUTURE_CHAIN_ENTRY_IS_PROCESSED(&walk.data.first) &&
	       FUTURE_CHAIN_ENTRY_IS_INITIALIZED(&walk.data.first) &&
	       !FUTURE_CHAIN_ENTRY_HAS_FLAG(&walk.data.first, FUTURE_CHAIN_VALID_FLAGS) &&
	       vdm_is_supported(vdm, VDM_F_MEM_DURABLE);
}
