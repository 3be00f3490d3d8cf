/* SPDX-License-Identifier: BSD-3-Clause */
/* include/libvdm/future.h and vdm.h: the layout that programs rely on, and chains. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <libvdm.h>

static_assert(FUTURE_STATE_IDLE == 0 && FUTURE_STATE_COMPLETE == 1 && FUTURE_STATE_RUNNING == 2, "");
static_assert(FUTURE_NOTIFIER_NONE == 0 && FUTURE_NOTIFIER_WAKER == 1 && FUTURE_NOTIFIER_POLLER == 2, "");
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
	struct vdm vdm = {.capabilities = (unsigned)VDM_F_NO_CACHE_HINT};

	(void)state;
	assert_true(vdm_is_supported(&vdm, (unsigned)VDM_F_NO_CACHE_HINT));
	assert_false(vdm_is_supported(&vdm, (unsigned)VDM_F_MEM_DURABLE));
	assert_false(vdm_is_supported(&vdm, (unsigned)VDM_F_VALID_FLAGS));
}

/* Defect 3: a future born complete has no function to ask. */
static void a_future_without_properties_has_none(void **state)
{
	struct step step;

	(void)state;
	FUTURE_INIT_COMPLETE(&step);
	assert_int_equal(future_has_property(&step, FUTURE_PROPERTY_ASYNC), 0);
	assert_int_equal(future_poll(FUTURE_AS_RUNNABLE(&step), NULL), FUTURE_STATE_COMPLETE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_lies_where_the_context_says),
		cmocka_unit_test(a_chain_runs_its_entries_in_turn),
		cmocka_unit_test(a_chain_without_a_last_mark_ends_where_its_data_ends),
		cmocka_unit_test(capabilities_are_looked_at_bit_by_bit),
		cmocka_unit_test(a_future_without_properties_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
