/* SPDX-License-Identifier: BSD-3-Clause */
/* include/libvdm/future.h and vdm.h: the layout that programs rely on, and chains. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <libvdm.h>

static_assert(FUTURE_STATE_IDLE == 0 && FUTURE_STATE_COMPLETE == 1 && FUTURE_STATE_RUNNING == 2,
	      "");
static_assert(FUTURE_NOTIFIER_NONE == 0 && FUTURE_NOTIFIER_WAKER == 1 &&
		      FUTURE_NOTIFIER_POLLER == 2,
	      "");
static_assert(sizeof(struct vdm_operation_data) == 64, "");
static_assert(sizeof(((struct vdm_operation *)0)->data) == 40, "");
static_assert(offsetof(struct vdm, capabilities) == 4 * sizeof(void *), "");
static_assert(VDM_OPERATION_FLUSH == 3 && VDM_ERROR_JOB_CORRUPTED == 2, "");

struct step_data {
	int polls_needed, input;
	char odd[3];
};

struct step_output {
	int value;
};

FUTURE(step, struct step_data, struct step_output);

static int steps_begun;

static enum future_state step_task(struct future_context *context, struct future_notifier *notifier)
{
	struct step_data *data = future_context_get_data(context);
	struct step_output *output = future_context_get_output(context);

	(void)notifier;
	steps_begun += context->state == FUTURE_STATE_IDLE;
	if (data->polls_needed-- > 0)
		return FUTURE_STATE_RUNNING;
	output->value = data->input + 1;
	return FUTURE_STATE_COMPLETE;
}

static struct step new_step(int polls, int input)
{
	struct step step = {.data = {.polls_needed = polls, .input = input}};

	FUTURE_INIT(&step, step_task);
	return step;
}

struct chain_data {
	FUTURE_CHAIN_ENTRY(struct step, first);
	FUTURE_CHAIN_ENTRY(struct step, second);
	FUTURE_CHAIN_ENTRY_LAST(struct step, third);
	int own;
};

FUTURE(chain, struct chain_data, struct step_output);

struct open_chain_data {
	FUTURE_CHAIN_ENTRY(struct step, first);
	FUTURE_CHAIN_ENTRY(struct step, second);
};

FUTURE(open_chain, struct open_chain_data, struct step_output);

static void pass_on(struct future_context *from, struct future_context *to, void *argument)
{
	const struct step_output *output = future_context_get_output(from);

	*(int *)argument += 1;
	((struct step_data *)future_context_get_data(to))->input = output->value;
}

static void to_chain(struct future_context *from, struct future_context *chain, void *argument)
{
	(void)argument;
	((struct step_output *)future_context_get_output(chain))->value =
		((struct step_output *)future_context_get_output(from))->value;
}

static void late_init(void *future, struct future_context *chain, void *argument)
{
	struct chain_data *data = future_context_get_data(chain);
	struct step step = new_step(*(int *)argument, 0);

	assert_ptr_equal(future, &data->second.fut);
	memcpy(future, &step, sizeof step);
}

static void output_lies_where_the_context_says(void **state)
{
	struct step step = new_step(0, 41);

	(void)state;
	assert_ptr_equal(future_context_get_data(&step.base.context), &step.data);
	assert_ptr_equal(future_context_get_output(&step.base.context), &step.output);
	FUTURE_BUSY_POLL(&step);
	assert_int_equal(FUTURE_OUTPUT(&step)->value, 42);
	assert_int_equal(FUTURE_STATE(&step), FUTURE_STATE_COMPLETE);
	assert_int_equal(future_poll(FUTURE_AS_RUNNABLE(&step), NULL), FUTURE_STATE_COMPLETE);
}

static void a_chain_runs_its_entries_in_turn(void **state)
{
	struct chain chain = {0};
	int maps = 0, polls = 2;

	(void)state;
	steps_begun = 0;
	FUTURE_CHAIN_ENTRY_INIT(&chain.data.first, new_step(1, 10), pass_on, &maps);
	FUTURE_CHAIN_ENTRY_LAZY_INIT(&chain.data.second, late_init, &polls, pass_on, &maps);
	FUTURE_CHAIN_ENTRY_INIT(&chain.data.third, new_step(0, 0), to_chain, NULL);
	FUTURE_CHAIN_INIT(&chain);
	assert_true(FUTURE_CHAIN_ENTRY_IS_LAST(&chain.data.third));
	assert_false(FUTURE_CHAIN_ENTRY_IS_LAST(&chain.data.first));
	assert_false(FUTURE_CHAIN_ENTRY_IS_INITIALIZED(&chain.data.second));
	assert_int_equal(future_poll(FUTURE_AS_RUNNABLE(&chain), NULL), FUTURE_STATE_RUNNING);
	assert_int_equal(steps_begun, 1);
	assert_int_equal(future_poll(FUTURE_AS_RUNNABLE(&chain), NULL), FUTURE_STATE_RUNNING);
	assert_true(FUTURE_CHAIN_ENTRY_IS_PROCESSED(&chain.data.first));
	assert_int_equal(steps_begun, 2);
	FUTURE_BUSY_POLL(&chain);
	assert_int_equal(maps, 2);
	assert_int_equal(FUTURE_OUTPUT(&chain)->value, 13);
}

static void a_chain_without_a_last_mark_ends_where_its_data_ends(void **state)
{
	struct open_chain chain = {0};
	int maps = 0;

	(void)state;
	FUTURE_CHAIN_ENTRY_INIT(&chain.data.first, new_step(3, 1), pass_on, &maps);
	FUTURE_CHAIN_ENTRY_INIT(&chain.data.second, new_step(3, 0), to_chain, NULL);
	FUTURE_CHAIN_INIT(&chain);
	FUTURE_BUSY_POLL(&chain);
	assert_int_equal(FUTURE_OUTPUT(&chain)->value, 3);
}

/* Defect 1: any capability implied durability. */
static void capabilities_are_looked_at_bit_by_bit(void **state)
{
	struct vdm vdm = {.capabilities = VDM_F_NO_CACHE_HINT};

	(void)state;
	assert_true(vdm_is_supported(&vdm, VDM_F_NO_CACHE_HINT));
	assert_false(vdm_is_supported(&vdm, VDM_F_MEM_DURABLE));
	assert_false(vdm_is_supported(&vdm, VDM_F_VALID_FLAGS));
}

/* Defect 3: a future born complete has no function to ask. */
static void a_future_without_properties_has_none(void **state)
{
	struct step step;

	(void)state;
	FUTURE_INIT_COMPLETE(&step);
	assert_int_equal(future_has_property(FUTURE_AS_RUNNABLE(&step), FUTURE_PROPERTY_ASYNC), 0);
	assert_int_equal(future_poll(FUTURE_AS_RUNNABLE(&step), NULL), FUTURE_STATE_COMPLETE);
	/* one that is made without a function has one to call */
	step = new_step(0, 0);
	assert_int_equal(step.base.has_property(&step, FUTURE_PROPERTY_ASYNC), 0);
}

static int is_asynchronous(void *future, enum future_property property)
{
	(void)future;
	return property == FUTURE_PROPERTY_ASYNC;
}

/* A set-up function that is late makes the entry that the properties of the chain are those of. */
static void a_chain_has_the_properties_of_its_current_entry(void **state)
{
	struct chain chain = {0};
	int maps = 0, polls = 2;

	(void)state;
	FUTURE_CHAIN_ENTRY_INIT(&chain.data.first, new_step(1, 10), pass_on, &maps);
	FUTURE_CHAIN_ENTRY_LAZY_INIT(&chain.data.second, late_init, &polls, pass_on, &maps);
	FUTURE_CHAIN_ENTRY_INIT(&chain.data.third, new_step(1, 0), to_chain, NULL);
	chain.data.first.fut.base.has_property = is_asynchronous;
	chain.data.third.fut.base.has_property = is_asynchronous;
	FUTURE_CHAIN_INIT(&chain);
	static const int expected[] = {1, 1, 1, 0, 0, 1, 0};

	for (unsigned i = 0; i < 7; i++) {
		assert_int_equal(future_has_property(FUTURE_AS_RUNNABLE(&chain),
						     FUTURE_PROPERTY_ASYNC),
				 expected[i]);
		if (i > 0)
			future_poll(FUTURE_AS_RUNNABLE(&chain), NULL);
	}
	assert_int_equal(FUTURE_STATE(&chain), FUTURE_STATE_COMPLETE);
}

/* A mover of the program's own, whose operations take two polls and notify by a waker. */
static int polls_of_mover;

static void *own_new(struct vdm *vdm, const enum vdm_operation_type type)
{
	(void)type;
	polls_of_mover = 0;
	return vdm;
}

static int own_start(void *data, const struct vdm_operation *operation,
		     struct future_notifier *notifier)
{
	(void)data;
	(void)operation;
	if (notifier)
		notifier->notifier_used = FUTURE_NOTIFIER_WAKER;
	return 0;
}

static enum future_state own_check(void *data, const struct vdm_operation *operation)
{
	(void)data;
	(void)operation;
	return ++polls_of_mover < 2 ? FUTURE_STATE_RUNNING : FUTURE_STATE_COMPLETE;
}

static void own_delete(void *data, const struct vdm_operation *operation,
		       struct vdm_operation_output *output)
{
	(void)data;
	output->type = operation->type;
	output->result = VDM_SUCCESS;
}

static struct vdm own_mover = {
	own_new, own_delete, own_start, own_check, VDM_CAPABILITY_RENOTIFY, is_asynchronous};

struct mixed_data {
	FUTURE_CHAIN_ENTRY(struct vdm_operation_future, set);
	FUTURE_CHAIN_ENTRY_LAST(struct step, last);
};

FUTURE(mixed, struct mixed_data, struct step_output);

/* The step does not touch the notifier: what the operation had said of itself is no longer so. */
static void a_complete_operation_leaves_no_notifier_behind(void **state)
{
	struct mixed chain = {0};
	struct future_notifier notifier = {.notifier_used = FUTURE_NOTIFIER_NONE};
	char byte;

	(void)state;
	FUTURE_CHAIN_ENTRY_INIT(&chain.data.set, vdm_memset(&own_mover, &byte, 1, 1, 0), NULL,
				NULL);
	FUTURE_CHAIN_ENTRY_INIT(&chain.data.last, new_step(1, 0), NULL, NULL);
	FUTURE_CHAIN_INIT(&chain);
	assert_int_equal(future_poll(FUTURE_AS_RUNNABLE(&chain), &notifier), FUTURE_STATE_RUNNING);
	assert_int_equal(notifier.notifier_used, FUTURE_NOTIFIER_WAKER);
	assert_int_equal(future_poll(FUTURE_AS_RUNNABLE(&chain), &notifier), FUTURE_STATE_RUNNING);
	assert_int_equal(chain.data.set.fut.output.result, VDM_SUCCESS);
	assert_int_equal(notifier.notifier_used, FUTURE_NOTIFIER_NONE);
}

static int has_nothing(void *future, enum future_property property)
{
	(void)future;
	(void)property;
	return 0;
}

static void an_operation_may_tell_its_own_properties(void **state)
{
	char byte;
	struct vdm_operation_future set = vdm_memset(&own_mover, &byte, 1, 1, 0);

	(void)state;
	assert_true(future_has_property(FUTURE_AS_RUNNABLE(&set), FUTURE_PROPERTY_ASYNC));
	vdm_set_has_property_fn(&set, NULL);
	assert_true(future_has_property(FUTURE_AS_RUNNABLE(&set), FUTURE_PROPERTY_ASYNC));
	vdm_set_has_property_fn(&set, has_nothing);
	assert_false(future_has_property(FUTURE_AS_RUNNABLE(&set), FUTURE_PROPERTY_ASYNC));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_lies_where_the_context_says),
		cmocka_unit_test(a_chain_runs_its_entries_in_turn),
		cmocka_unit_test(a_chain_without_a_last_mark_ends_where_its_data_ends),
		cmocka_unit_test(capabilities_are_looked_at_bit_by_bit),
		cmocka_unit_test(a_future_without_properties_has_none),
		cmocka_unit_test(a_chain_has_the_properties_of_its_current_entry),
		cmocka_unit_test(a_complete_operation_leaves_no_notifier_behind),
		cmocka_unit_test(an_operation_may_tell_its_own_properties),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
