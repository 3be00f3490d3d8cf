/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client punches holes into its memory with a thread of the lowest priority, beside a thread that
 * spins. A page that a worker touches comes only long after, when the punching is over. Meanwhile
 * the daemon serves another user as usual.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "raw_session.h"

enum {
	USER = 65534,
	OPERATIONS = 8,
	PAGE = 4096,
	ENOUGH = 20,
	WAITS = 0,
	HANGS_UP = 1,
	REMOVES = 2,
	WAYS = 3
};

#define BYTES ((size_t)96 << 20)

/* The punching may end too soon if the scheduler gives it the CPU: then the test tries again. */
#define ATTEMPTS 10

static struct {
	_Atomic int spinning;
	_Atomic int punching; /* 1: at it; 2: done */
	_Atomic int begun;    /* operations are submitted, and what follows is done */
	_Atomic int enough;   /* has been seen: let it go on */
} * shared;

static int memory_fd;

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void stay_on_one_cpu(void)
{
	cpu_set_t set, one;

	CHECK(sched_getaffinity(0, sizeof set, &set) == 0, "%s", strerror(errno));
	CPU_ZERO(&one);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
		if (CPU_ISSET(cpu, &set))
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof one, &one);
}

static void *spin(void *unused)
{
	(void)unused;
	stay_on_one_cpu();
	atomic_store(&shared->spinning, 1);
	while (!atomic_load(&shared->enough))
		;
	return NULL;
}

static void *punch(void *unused)
{
	const struct sched_param none = {0};

	(void)unused;
	stay_on_one_cpu();
	CHECK(sched_setscheduler(0, SCHED_IDLE, &none) == 0, "%s", strerror(errno));
	atomic_store(&shared->punching, 1);
	CHECK(fallocate(memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)BYTES) ==
		      0,
	      "%s", strerror(errno));
	atomic_store(&shared->punching, 2);
	return NULL;
}

static void add_memory(struct raw_session *session, uint32_t *region)
{
	struct vdm_message_region_add request = {.header = {VDM_MESSAGE_REGION_ADD, sizeof request},
						 .size = BYTES};
	struct vdm_packet reply;

	memory_fd = memfd_create("punched", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CHECK(memory_fd >= 0 && fallocate(memory_fd, 0, 0, (off_t)BYTES) == 0 &&
		      fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0,
	      "%s", strerror(errno));
	CHECK(raw_request(session, &request.header, &memory_fd, 1, &reply) == 0 &&
		      reply.message.header.type == VDM_MESSAGE_REGION_ADDED,
	      "%s", reply.message.refused.text);
	*region = reply.message.region_added.region;
}

static void be_hostile(int way)
{
	struct vdm_message_region_remove removal = {
		.header = {VDM_MESSAGE_REGION_REMOVE, sizeof removal}};
	struct raw_session session;
	struct raw_ring ring;
	pthread_t spinner, puncher;

	CHECK(setuid(USER) == 0, "%s", strerror(errno));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	raw_open(&session);
	CHECK(raw_ring_create(&session, 64, 0, &ring) == 0, "a ring");
	add_memory(&session, &removal.region);
	CHECK(pthread_create(&spinner, NULL, spin, NULL) == 0, "a thread");
	while (atomic_load(&shared->spinning) == 0)
		nap();
	CHECK(pthread_create(&puncher, NULL, punch, NULL) == 0, "a thread");
	while (atomic_load(&shared->punching) == 0)
		nap();
	for (unsigned i = 0; i < 20; i++)
		nap(); /* and it has its first slice of the CPU */
	for (unsigned i = 0; i < OPERATIONS; i++) {
		struct vdm_descriptor *d = raw_entry(&ring);

		d->opcode = VDM_OPCODE_MEMSET;
		d->destination_region = removal.region;
		d->destination_offset = BYTES - (i + 1) * PAGE;
		d->length = 64;
		raw_publish(&ring);
	}
	for (unsigned i = 0; i < 20; i++)
		nap(); /* the worker is at it */
	if (way == HANGS_UP)
		raw_close(&session);
	else if (way == REMOVES)
		CHECK(vdm_packet_send(session.socket, &removal.header, NULL, 0) == 0, "a request");
	atomic_store(&shared->begun, 1);
	pthread_join(spinner, NULL);
	pthread_join(puncher, NULL);
	if (way == HANGS_UP)
		return;
	for (unsigned i = 0; i < OPERATIONS; i++) {
		struct vdm_completion completion;

		CHECK(raw_await(&session, &ring, &completion), "completion %u", i);
	}
	if (way == REMOVES) {
		struct vdm_packet reply;
		int result;

		while ((result = vdm_packet_receive(session.socket, &reply, 0)) == -EAGAIN)
			nap();
		CHECK(result == 0 && reply.message.header.type == VDM_MESSAGE_DONE,
		      "the answer: %d", result);
	}
	raw_close(&session);
}

/* Everything that a client does, once. */
static void use_the_daemon(void)
{
	const struct vdm_options options = {
		.size = sizeof options, .flags = VDM_OPTION_REQUIRE_DAEMON, .offload_threshold = 1};
	struct vdm_client *client;
	struct vdm_region *region;
	struct vdm_ring *ring;
	struct vdm_cqe *cqe;

	CHECK(vdm_client_open(&options, &client) == 0 &&
		      vdm_region_alloc(client, 4 * PAGE, &region) == 0 &&
		      vdm_ring_open(client, NULL, &ring) == 0,
	      "a client");
	char *memory = vdm_region_address(region);

	memset(memory, 1, PAGE);
	vdm_prep_memcpy(vdm_ring_get_sqe(ring), memory + PAGE, memory, PAGE, 0);
	CHECK(vdm_ring_submit(ring) == 1 && vdm_ring_wait_cqe(ring, &cqe) == 0 && cqe->result == 0,
	      "a copy");
	CHECK(memcmp(memory, memory + PAGE, PAGE) == 0, "what was copied");
	vdm_ring_cqe_seen(ring, cqe);
	vdm_ring_close(ring);
	vdm_region_release(region);
	vdm_client_close(client);
}

/* Returns how often another user could use the daemon while the hostile client had a worker stuck,
 * at most ENOUGH. */
static unsigned attack(int way)
{
	unsigned uses = 0;
	int status;

	atomic_store(&shared->spinning, 0);
	atomic_store(&shared->punching, 0);
	atomic_store(&shared->begun, 0);
	atomic_store(&shared->enough, 0);
	pid_t hostile = fork();

	CHECK(hostile >= 0, "%s", strerror(errno));
	if (hostile == 0) {
		be_hostile(way);
		_exit(0);
	}
	while (!atomic_load(&shared->begun)) {
		CHECK(waitpid(hostile, &status, WNOHANG) == 0, "the hostile client: %d", status);
		nap();
	}
	while (uses < ENOUGH && atomic_load(&shared->punching) != 2) {
		use_the_daemon();
		uses += atomic_load(&shared->punching) != 2;
	}
	atomic_store(&shared->enough, 1);
	CHECK(waitpid(hostile, &status, 0) == hostile && status == 0, "the hostile client: %d",
	      status);
	use_the_daemon();
	return uses;
}

int main(void)
{
	static const char *const names[WAYS] = {"waits", "hangs up", "removes the region"};

	if (geteuid() != 0) {
		printf("skipped: it needs root, to be two users\n");
		return 77;
	}
	alarm(1500);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	CHECK(shared != MAP_FAILED, "%s", strerror(errno));
	for (int way = 0; way < WAYS; way++) {
		unsigned most = 0;

		for (unsigned attempt = 0; attempt < ATTEMPTS && most < ENOUGH; attempt++) {
			unsigned uses = attack(way);

			most = uses > most ? uses : most;
		}
		printf("a client that punches and %s: another used the daemon %u times meanwhile\n",
		       names[way], most);
		/* If a stuck worker delayed others, the daemon would serve them only when each
		 * attack is over. */
		CHECK(most > 0, "nobody else was served, in %d attacks", ATTEMPTS);
		if (most < ENOUGH) {
			printf("skipped: none of %d attacks lasted for long enough\n", ATTEMPTS);
			return 77;
		}
		fflush(stdout); /* before the next one forks */
	}
	return 0;
}
