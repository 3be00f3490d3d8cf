/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Futures: values that describe a task and are polled until it is complete. Header-only.
 *
 * A future is a `struct future`, followed in memory by the task's data and then its output. It may
 * be moved until it is first polled. Polling is not thread-safe: one thread at a time polls a
 * future. It may be a different thread, with a different notifier or none, each time. A complete
 * future stays complete and may be polled again.
 */
#ifndef LIBVDM_FUTURE_H
#define LIBVDM_FUTURE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum future_state {
	FUTURE_STATE_IDLE = 0, /* not started, or could not be started: poll again */
	FUTURE_STATE_COMPLETE = 1,
	FUTURE_STATE_RUNNING = 2
};

enum future_notifier_type {
	FUTURE_NOTIFIER_NONE,  /* poll again now and then */
	FUTURE_NOTIFIER_WAKER, /* the waker will be called */
	FUTURE_NOTIFIER_POLLER /* the word at poller.ptr_to_monitor will change */
};

enum future_property {
	FUTURE_PROPERTY_ASYNC /* makes progress without being polled */
};

struct future_context {
	size_t data_size, output_size; /* bytes that follow */
	enum future_state state;
	uint32_t padding; /* 0 or VDM_FUTURE_HOLDS */
};

/*
 * The task holds something that it has to release even if the program skips the future by setting
 * its state to FUTURE_STATE_COMPLETE. The next poll calls such a task in that state too.
 */
#define VDM_FUTURE_HOLDS 0x686f6c64u

/* Any thread may call this when the future ought to be polled, perhaps more than once. While it
 * blocks, other wakers may have to wait. */
typedef void (*future_waker_wake_fn)(void *data);

/* The program may free `data` once it has seen the future complete. */
struct future_waker {
	void *data;
	future_waker_wake_fn wake;
};

struct future_poller {
	uint64_t *ptr_to_monitor; /* set by the task; valid until the future is complete */
};

/*
 * The caller offers a waker and sets notifier_used to FUTURE_NOTIFIER_NONE. The task stores the way
 * of notifying that it will use.
 */
struct future_notifier {
	struct future_waker waker;
	struct future_poller poller;
	enum future_notifier_type notifier_used;
	uint32_t padding;
};

typedef enum future_state (*future_task_fn)(struct future_context *context,
					    struct future_notifier *notifier);
typedef int (*future_has_property_fn)(void *future, enum future_property property);

/* In a C++ program that uses namespace std, `struct future` alone would be ambiguous. */
#ifdef __cplusplus
#define VDM_FUTURE struct ::future
#else
#define VDM_FUTURE struct future
#endif

struct future {
	future_task_fn task;
	future_has_property_fn has_property; /* NULL: has none */
	struct future_context context;
};

/* The addresses of data and output, and their size in bytes together. */
static inline void *future_context_get_data(struct future_context *context)
{
	return (char *)context + sizeof *context;
}

static inline void *future_context_get_output(struct future_context *context)
{
	return (char *)context + sizeof *context + context->data_size;
}

static inline size_t future_context_get_size(struct future_context *context)
{
	return context->data_size + context->output_size;
}

/* Start the task or look at it. `notifier` may be NULL. Returns the state. */
static inline enum future_state future_poll(VDM_FUTURE *future, struct future_notifier *notifier)
{
	if (future->context.state != FUTURE_STATE_COMPLETE ||
	    future->context.padding == VDM_FUTURE_HOLDS)
		future->context.state = future->task(&future->context, notifier);
	return future->context.state;
}

static inline int future_has_property(VDM_FUTURE *future, enum future_property property)
{
	return future->has_property ? future->has_property(future, property) : 0;
}

/* Of futures that have no property. */
static inline int future_has_property_default(void *future, enum future_property property)
{
	(void)future;
	(void)property;
	return 0;
}

/* A type of futures: members base, data and output. */
#define FUTURE(_name, _data_type, _output_type)                                                    \
	struct _name {                                                                             \
		VDM_FUTURE base;                                                                   \
		_data_type data;                                                                   \
		_output_type output;                                                               \
	}

#define VDM_FUTURE_SET(_future, _task, _property, _state)                                          \
	do {                                                                                       \
		(_future)->base.task = (_task);                                                    \
		(_future)->base.has_property = (_property);                                        \
		(_future)->base.context.state = (_state);                                          \
		(_future)->base.context.data_size =                                                \
			(size_t)((char *)&(_future)->output - (char *)&(_future)->data);           \
		(_future)->base.context.output_size = sizeof((_future)->output);                   \
		(_future)->base.context.padding = 0;                                               \
	} while (0)

#define FUTURE_INIT_EXT(_future, _task, _property)                                                 \
	VDM_FUTURE_SET(_future, _task, _property, FUTURE_STATE_IDLE)
#define FUTURE_INIT(_future, _task)   FUTURE_INIT_EXT(_future, _task, future_has_property_default)
#define FUTURE_INIT_COMPLETE(_future) VDM_FUTURE_SET(_future, NULL, NULL, FUTURE_STATE_COMPLETE)

#define FUTURE_AS_RUNNABLE(_future) (&(_future)->base)
#define FUTURE_OUTPUT(_future)      (&(_future)->output)
#define FUTURE_DATA(_future)        (&(_future)->data)
#define FUTURE_STATE(_future)       ((_future)->base.context.state)
#define FUTURE_WAKER_WAKE(_waker)   ((_waker)->wake((_waker)->data))

/* Between two looks of a busy poll. */
#if defined(__x86_64__) || defined(__i386__)
#define __FUTURE_WAIT() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define __FUTURE_WAIT() __asm__ volatile("isb" ::: "memory")
#else
#define __FUTURE_WAIT() ((void)0)
#endif

#define FUTURE_BUSY_POLL(_future)                                                                  \
	while (future_poll(FUTURE_AS_RUNNABLE(_future), NULL) != FUTURE_STATE_COMPLETE)            \
	__FUTURE_WAIT()

/*
 * Chains: futures that run one after the other. The entries lie at the start of the chain's data.
 * When an entry is complete, its `map` passes its result (lhs) to the next future (rhs), or from
 * the last entry to the chain. If an entry has `init`, that function sets it up just before it is
 * needed.
 */
typedef void (*future_map_fn)(struct future_context *lhs, struct future_context *rhs, void *arg);
typedef void (*future_init_fn)(void *future, struct future_context *chain, void *arg);

#define FUTURE_CHAIN_FLAG_ENTRY_LAST      ((uint64_t)1 << 0)
#define FUTURE_CHAIN_FLAG_ENTRY_PROCESSED ((uint64_t)1 << 1)

#define FUTURE_CHAIN_VALID_FLAGS (FUTURE_CHAIN_FLAG_ENTRY_LAST | FUTURE_CHAIN_FLAG_ENTRY_PROCESSED)

/* How every entry begins. */
struct future_chain_entry {
	future_map_fn map;
	void *map_arg;
	future_init_fn init;
	void *init_arg;
	uint64_t flags;
	VDM_FUTURE future;
};

/* The size of what `kind` points to tells the two kinds of entries apart when they are set up. */
enum future_chain_entry_type {
	FUTURE_CHAIN_ENTRY_REGULAR = 1,
	FUTURE_CHAIN_ENTRY_LAST = 2 /* the macro of this name takes arguments */
};
typedef char vdm_chain_regular[FUTURE_CHAIN_ENTRY_REGULAR];
typedef char vdm_chain_last[FUTURE_CHAIN_ENTRY_LAST];

#define VDM_CHAIN_ENTRY(_kind, _type, _name)                                                       \
	struct {                                                                                   \
		future_map_fn map;                                                                 \
		void *map_arg;                                                                     \
		future_init_fn init;                                                               \
		void *init_arg;                                                                    \
		__extension__ union {                                                              \
			uint64_t flags;                                                            \
			_kind *kind;                                                               \
		};                                                                                 \
		_type fut;                                                                         \
	} _name

#define FUTURE_CHAIN_ENTRY(_type, _name)      VDM_CHAIN_ENTRY(vdm_chain_regular, _type, _name)
#define FUTURE_CHAIN_ENTRY_LAST(_type, _name) VDM_CHAIN_ENTRY(vdm_chain_last, _type, _name)

#define FUTURE_CHAIN_ENTRY_LAZY_INIT(_entry, _init, _init_arg, _map, _map_arg)                     \
	do {                                                                                       \
		(_entry)->map = (_map);                                                            \
		(_entry)->map_arg = (_map_arg);                                                    \
		(_entry)->init = (_init);                                                          \
		(_entry)->init_arg = (_init_arg);                                                  \
		(_entry)->flags = sizeof(*(_entry)->kind) == FUTURE_CHAIN_ENTRY_LAST               \
					  ? FUTURE_CHAIN_FLAG_ENTRY_LAST                           \
					  : 0;                                                     \
	} while (0)

#define FUTURE_CHAIN_ENTRY_INIT(_entry, _fut, _map, _map_arg)                                      \
	do {                                                                                       \
		(_entry)->fut = (_fut);                                                            \
		FUTURE_CHAIN_ENTRY_LAZY_INIT(_entry, NULL, NULL, _map, _map_arg);                  \
	} while (0)

#define FUTURE_CHAIN_ENTRY_HAS_FLAG(_entry, _flag) (((_entry)->flags & (_flag)) == (_flag))
#define FUTURE_CHAIN_ENTRY_IS_LAST(_entry)                                                         \
	FUTURE_CHAIN_ENTRY_HAS_FLAG(_entry, FUTURE_CHAIN_FLAG_ENTRY_LAST)
#define FUTURE_CHAIN_ENTRY_IS_PROCESSED(_entry)                                                    \
	FUTURE_CHAIN_ENTRY_HAS_FLAG(_entry, FUTURE_CHAIN_FLAG_ENTRY_PROCESSED)
#define FUTURE_CHAIN_ENTRY_IS_INITIALIZED(_entry) ((_entry)->init == NULL)

static inline void vdm_chain_entry_init(struct future_chain_entry *entry,
					struct future_context *chain)
{
	if (FUTURE_CHAIN_ENTRY_IS_INITIALIZED(entry))
		return;

	future_init_fn init = entry->init;

	entry->init = NULL;
	init(&entry->future, chain, entry->init_arg);
}

/*
 * Set an entry up if that has not been done, and return the entry after it, or NULL. `data` is
 * where the chain's data begins. `*used_data` is the offset of the entry in it, and becomes the
 * offset of the returned one.
 */
static inline struct future_chain_entry *get_next_future_chain_entry(
	struct future_context *chain, struct future_chain_entry *entry, uint8_t *data,
	size_t *used_data)
{
	const size_t alignment = sizeof(void *);

	vdm_chain_entry_init(entry, chain);
	*used_data +=
		(sizeof *entry + future_context_get_size(&entry->future.context) + alignment - 1) /
		alignment * alignment;
	if (FUTURE_CHAIN_ENTRY_IS_LAST(entry) || *used_data >= chain->data_size)
		return NULL;
	return (struct future_chain_entry *)(void *)(data + *used_data);
}

/* The task of a chain: go on until an entry is not complete. */
static inline enum future_state async_chain_impl(struct future_context *chain,
						 struct future_notifier *notifier)
{
	uint8_t *data = (uint8_t *)future_context_get_data(chain);
	struct future_chain_entry *entry = (struct future_chain_entry *)(void *)data;
	size_t used = 0;

	while (entry) {
		struct future_chain_entry *next =
			get_next_future_chain_entry(chain, entry, data, &used);

		if (!FUTURE_CHAIN_ENTRY_IS_PROCESSED(entry)) {
			if (future_poll(&entry->future, notifier) != FUTURE_STATE_COMPLETE)
				return FUTURE_STATE_RUNNING;
			if (next)
				vdm_chain_entry_init(next, chain);
			if (entry->map)
				entry->map(&entry->future.context,
					   next ? &next->future.context : chain, entry->map_arg);
			entry->flags |= FUTURE_CHAIN_FLAG_ENTRY_PROCESSED;
		}
		entry = next;
	}
	return FUTURE_STATE_COMPLETE;
}

/* A chain has the properties of its current entry, which this sets up. */
static inline int future_chain_has_property(void *future, enum future_property property)
{
	struct future_context *chain = &((VDM_FUTURE *)future)->context;
	uint8_t *data = (uint8_t *)future_context_get_data(chain);
	struct future_chain_entry *entry = (struct future_chain_entry *)(void *)data;
	size_t used = 0;

	while (entry) {
		struct future_chain_entry *next =
			get_next_future_chain_entry(chain, entry, data, &used);

		if (!FUTURE_CHAIN_ENTRY_IS_PROCESSED(entry))
			return future_has_property(&entry->future, property);
		entry = next;
	}
	return 0;
}

#define FUTURE_CHAIN_INIT(_future)                                                                 \
	FUTURE_INIT_EXT(_future, async_chain_impl, future_chain_has_property)

#ifdef __cplusplus
}
#endif
#endif
