/* SPDX-License-Identifier: BSD-3-Clause */
#include "attackers.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "integration/check.h"
#include "integration/raw_files.h"
#include "integration/raw_session.h"
#include "tests/start_ring.h"

#define ENTRIES 64
#define BYTES   ((size_t)1 << 20)

/* A generator that is fast, and repeatable from the seed. (Vigna 2016, splitmix64) */
static uint64_t state;

static uint64_t random64(void)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t below(uint64_t n)
{
	return random64() % n;
}

/* What an attacker works with. */
struct lair {
	struct raw_session session;
	struct raw_ring ring;
	uint32_t region, readonly;
	char *memory;
};

static void move_in_with(struct lair *lair, unsigned seed, uint32_t entries)
{
	state = seed;
	raw_open(&lair->session);
	if (raw_ring_create(&lair->session, entries, (uint32_t)random64(), &lair->ring) < 0)
		_exit(0); /* over a limit: another time */
	lair->memory = raw_region_add(&lair->session, BYTES, 0, &lair->region);
	raw_region_add(&lair->session, BYTES, VDM_REGION_READ_ONLY, &lair->readonly);
}

static void move_in(struct lair *lair, unsigned seed)
{
	move_in_with(lair, seed, ENTRIES);
}

static bool has_ended(const struct lair *lair)
{
	struct pollfd fd = {.fd = lair->session.socket};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

/* An offset or a length: good, nearly good, or absurd. */
static uint64_t quantity(void)
{
	static const uint64_t odd[] = {0,
				       1,
				       4095,
				       4096,
				       16384,
				       16385,
				       65536,
				       65537,
				       BYTES - 1,
				       BYTES,
				       BYTES + 1,
				       1ull << 31,
				       1ull << 32,
				       1ull << 63,
				       UINT64_MAX - BYTES,
				       UINT64_MAX - 1,
				       UINT64_MAX};

	switch (below(3)) {
	case 0:
		return below(BYTES);
	case 1:
		return odd[below(sizeof odd / sizeof *odd)];
	default:
		return random64() >> below(64);
	}
}

static uint32_t some_region(const struct lair *lair)
{
	switch (below(8)) {
	case 0:
		return (uint32_t)random64();
	case 1:
		return lair->readonly;
	case 2:
		return lair->region + 0x10000; /* another generation of it */
	case 3:
		return 0;
	default:
		return lair->region;
	}
}

static void fill(const struct lair *lair, struct vdm_descriptor *d)
{
	d->opcode = (uint8_t)(below(16) ? below(VDM_OPCODE_COUNT) : random64());
	d->flags = (uint16_t)(below(4) ? 0 : below(4) ? below(16) : random64());
	d->priority = (uint8_t)(below(32) == 0);
	d->destination_region = some_region(lair);
	d->source_region = d->opcode == VDM_OPCODE_MEMSET || d->opcode == VDM_OPCODE_FLUSH
				   ? 0
				   : some_region(lair);
	d->destination_offset = quantity();
	d->source_offset = d->source_region ? quantity() : 0;
	d->length = quantity();
	d->pattern = d->opcode == VDM_OPCODE_MEMSET ? below(300) : 0;
	d->user_data = random64();
}

/* Descriptors of every kind, within the rules of the ring. Any result is right, but each descriptor
 * completes once. */
static void lie_in_descriptors(unsigned seed, void *unused)
{
	struct vdm_completion completion;
	struct lair lair;

	(void)unused;
	move_in(&lair, seed);
	for (;;) {
		unsigned batch = 1 + (unsigned)below(ENTRIES);

		for (unsigned i = 0; i < batch; i++) {
			fill(&lair, raw_entry(&lair.ring));
			raw_publish(&lair.ring);
		}
		for (unsigned i = 0; i < batch; i++)
			if (!raw_await(&lair.session, &lair.ring, &completion))
				return;
	}
}

/* A second thread rewrites descriptors while they are being read. */
static void *rewrite(void *argument)
{
	struct lair *lair = argument;
	struct vdm_descriptor *all = vdm_descriptors(lair->ring.submission);

	for (uint64_t n = 0;; n++) {
		struct vdm_descriptor *d = &all[n % ENTRIES];
		volatile uint64_t *words = (volatile uint64_t *)d;

		words[2] = n & 1 ? 0 : UINT64_MAX - 4096; /* destination_offset */
		words[4] = n & 1 ? 4096 : UINT64_MAX;     /* length */
		*(volatile uint32_t *)&d->destination_region =
			n & 1 ? lair->region : lair->readonly;
		*(volatile uint8_t *)&d->opcode = n & 1 ? VDM_OPCODE_MEMCPY : UINT8_MAX;
	}
	return NULL;
}

static void change_what_is_being_read(unsigned seed, void *unused)
{
	struct vdm_completion completion;
	struct lair lair;
	pthread_t thread;

	(void)unused;
	move_in(&lair, seed);
	pthread_create(&thread, NULL, rewrite, &lair);
	for (;;) {
		for (unsigned i = 0; i < ENTRIES; i++) {
			struct vdm_descriptor *d = raw_entry(&lair.ring);

			d->opcode = VDM_OPCODE_MEMCPY;
			d->destination_region = d->source_region = lair.region;
			d->length = 4096;
			raw_publish(&lair.ring);
		}
		for (unsigned i = 0; i < ENTRIES; i++)
			if (!raw_await(&lair.session, &lair.ring, &completion))
				return;
	}
}

/* Writes every byte of the submission file at any time, also sequence words and the client's
 * line. */
static void spray_the_ring(unsigned seed, void *unused)
{
	struct lair lair;

	(void)unused;
	move_in(&lair, seed);
	for (uint64_t n = 0; !has_ended(&lair); n++) {
		volatile unsigned char *bytes = lair.ring.submission;

		if (below(8)) {
			fill(&lair, raw_entry(&lair.ring));
			raw_publish(&lair.ring);
		} else {
			bytes[below(vdm_submission_size(ENTRIES))] = (unsigned char)random64();
			eventfd_write(lair.ring.fds[VDM_RING_FD_DOORBELL], 1);
		}
		if (n % 64 == 0)
			sched_yield();
	}
}

/* Positions that no honest client publishes: more in flight than entries, jumps, replays. */
static void jump_in_the_ring(unsigned seed, void *unused)
{
	struct lair lair;

	(void)unused;
	move_in(&lair, seed);
	for (unsigned i = 0; i < below(3 * ENTRIES); i++) {
		raw_entry(&lair.ring);
		raw_publish(&lair.ring);
	}
	uint32_t sequence = lair.ring.submitted;
	static const int32_t jumps[] = {0, -1, 2, 3, -ENTRIES, ENTRIES, INT32_MAX, INT32_MIN};

	raw_entry(&lair.ring);
	raw_publish_as(&lair.ring, sequence + (uint32_t)jumps[below(sizeof jumps / sizeof *jumps)]);
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Operations on regions that are being removed, and on their ids afterwards. */
static void use_what_is_gone(unsigned seed, void *unused)
{
	struct lair lair;

	(void)unused;
	move_in(&lair, seed);
	for (;;) {
		struct vdm_message_region_remove remove = {
			.header = {VDM_MESSAGE_REGION_REMOVE, sizeof remove}};
		struct vdm_completion completion;
		struct vdm_packet reply;
		uint32_t region;
		char *memory = raw_region_add(&lair.session, BYTES, 0, &region);
		unsigned count = 1 + (unsigned)below(ENTRIES / 2);

		for (unsigned i = 0; i < 2 * count; i++) {
			struct vdm_descriptor *d = raw_entry(&lair.ring);

			d->opcode = VDM_OPCODE_MEMCPY;
			d->destination_region = below(2) ? region : lair.region;
			d->source_region = region;
			d->length = BYTES / (1 + below(64));
			raw_publish(&lair.ring);
			if (i == count) {
				remove.region = region;
				if (raw_request(&lair.session, &remove.header, NULL, 0, &reply) < 0)
					return;
			}
		}
		for (unsigned i = 0; i < 2 * count; i++)
			if (!raw_await(&lair.session, &lair.ring, &completion))
				return;
		munmap(memory, BYTES);
	}
}

/* Punches pages out of a region while operations use it. */
static void punch_holes(unsigned seed, void *unused)
{
	struct vdm_completion completion;
	struct lair lair;

	(void)unused;
	move_in(&lair, seed);
	for (;;) {
		for (unsigned i = 0; i < 8; i++) {
			struct vdm_descriptor *d = raw_entry(&lair.ring);

			d->opcode = VDM_OPCODE_MEMCPY;
			d->destination_region = d->source_region = lair.region;
			d->destination_offset = BYTES / 2;
			d->length = BYTES / 2;
			raw_publish(&lair.ring);
		}
		madvise(lair.memory + below(BYTES / 4096) * 4096, 4096, MADV_REMOVE);
		for (unsigned i = 0; i < 8; i++)
			if (!raw_await(&lair.session, &lair.ring, &completion))
				return;
	}
}

/* A message of any type, size and content, with up to 253 descriptors. */
static void send_garbage(int socket)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(VDM_PACKET_MAX_FDS * sizeof(int))];
	union {
		struct vdm_message_header header;
		char bytes[4096];
	} message;
	struct iovec data = {&message, below(8) ? below(sizeof(union vdm_message) + 8)
						: below(sizeof message)};
	struct msghdr header = {.msg_iov = &data, .msg_iovlen = 1};
	unsigned fds = below(3) ? 0 : (unsigned)below(below(4) ? 6 : VDM_PACKET_MAX_FDS + 1);

	for (size_t i = 0; i < sizeof message.bytes; i++)
		message.bytes[i] = (char)(below(3) ? 0 : random64());
	if (below(4)) {
		message.header.type = (uint32_t)below(VDM_MESSAGE_TYPE_COUNT + 1);
		message.header.size = (uint32_t)data.iov_len;
	}
	if (fds > 0) {
		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(fds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&header);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fds * sizeof(int));
		for (unsigned i = 0; i < fds; i++) {
			int fd = (int)below(4);

			memcpy(CMSG_DATA(c) + i * sizeof fd, &fd, sizeof fd);
		}
	}
	sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void talk_nonsense(unsigned seed, void *unused)
{
	(void)unused;
	state = seed;
	for (unsigned n = 0; n < 200; n++) {
		struct raw_session session;

		if (below(4))
			raw_open(&session);
		else
			session.socket = raw_connect();
		for (unsigned i = 0; i < 1 + below(20); i++)
			send_garbage(session.socket);
		raw_close(&session);
	}
}

/* Valid messages in any order and number, whose answers the client does not read. */
static void never_listen(unsigned seed, void *unused)
{
	static const uint32_t sizes[VDM_MESSAGE_TYPE_COUNT] = {
		[VDM_MESSAGE_HELLO] = sizeof(struct vdm_message_hello),
		[VDM_MESSAGE_RING_CREATE] = sizeof(struct vdm_message_ring_create),
		[VDM_MESSAGE_RING_START] = sizeof(struct vdm_message_ring_start),
		[VDM_MESSAGE_RING_DESTROY] = sizeof(struct vdm_message_ring_destroy),
		[VDM_MESSAGE_REGION_REMOVE] = sizeof(struct vdm_message_region_remove),
		[VDM_MESSAGE_STATUS] = sizeof(struct vdm_message_status),
	};
	struct raw_session session;

	(void)unused;
	state = seed;
	raw_open(&session);
	for (unsigned n = 0; n < 2000; n++) {
		union vdm_message message = {0};
		uint32_t type = (uint32_t)below(VDM_MESSAGE_TYPE_COUNT);

		if (!sizes[type])
			continue;
		message.header.type = type;
		message.header.size = sizes[type];
		if (type == VDM_MESSAGE_RING_CREATE)
			message.ring_create.entries = 4;
		if (vdm_packet_send(session.socket, &message.header, NULL, 0) < 0)
			nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
	}
}

/* Rings that are left at any step of their start, started otherwise, and used before it. */
static void half_start_rings(unsigned seed, void *unused)
{
	struct raw_session session;

	(void)unused;
	state = seed;
	raw_open(&session);
	for (unsigned n = 0; n < 500; n++) {
		struct raw_ring ring;

		if (raw_ring_make(&session, 1u << (1 + below(6)), 0, &ring) < 0)
			return; /* over a limit, or the session has ended */
		if (below(4) == 0)
			continue;
		raw_ring_map(&ring);
		if (below(2)) {
			vdm_submission_prepare(ring.submission, ring.entries, 0);
			raw_entry(&ring);
			raw_publish(&ring);
			ring.submitted = 0;
		}
		if (below(64) == 0)
			madvise(ring.submission, 4096, MADV_REMOVE);
		if (below(64) == 0)
			ring.id = (uint32_t)random64();
		if (below(2))
			raw_ring_start(&session, &ring);
		raw_ring_forget(&ring);
	}
}

/* As many silent connections as the daemon accepts, for a moment. */
static void flood_with_connections(unsigned seed, void *unused)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fds[512];
	unsigned count = 0;

	(void)unused;
	(void)seed;
	strncpy(address.sun_path, getenv("VDM_SOCKET"), sizeof address.sun_path - 1);
	while (count < sizeof fds / sizeof *fds) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (fd < 0)
			break;
		if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
			close(fd);
			break;
		}
		fds[count++] = fd;
	}
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

/* Messages of any kind to the filer, also before a greeting. */
static void talk_nonsense_to_the_filer(unsigned seed, void *unused)
{
	struct raw_session session, filer;

	(void)unused;
	state = seed;
	raw_open(&session);
	for (unsigned n = 0; n < 200; n++) {
		raw_files_open(&session, &filer);
		for (unsigned i = 0; i < 1 + below(20); i++)
			send_garbage(filer.socket);
		raw_close(&filer);
	}
}

/* A descriptor that is no file, or not one to write to; or, as often, a file. */
static int some_file(const struct raw_session *filer)
{
	switch (below(12)) {
	case 0:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case 1:
		return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	case 2:
		return open("/etc/passwd", O_PATH | O_CLOEXEC);
	case 3:
		return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	case 4:
		return fcntl(filer->socket, F_DUPFD_CLOEXEC, 0);
	case 5:
		return memfd_create("file", MFD_CLOEXEC);
	case 6:
		return open("/dev/zero", O_RDWR | O_CLOEXEC);
	default:
		return open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	}
}

/* Anything as a file, and operations of every kind on what has become a region. */
static void lie_to_the_filer(unsigned seed, void *unused)
{
	struct vdm_completion completion;
	struct raw_session daemon;
	struct lair lair;

	(void)unused;
	state = seed;
	raw_open(&daemon);
	raw_files_open(&daemon, &lair.session);
	if (raw_ring_create(&lair.session, ENTRIES, 0, &lair.ring) < 0)
		return;
	lair.memory = raw_region_add(&lair.session, BYTES, 0, &lair.region);
	lair.readonly = lair.region;
	for (;;) {
		const int fd = some_file(&lair.session);
		struct vdm_message_region_remove remove = {
			.header = {VDM_MESSAGE_REGION_REMOVE, sizeof remove}};
		struct vdm_packet reply;

		if (fd < 0)
			continue;
		if (below(4))
			(void)!ftruncate(fd, BYTES);
		if (raw_file_add(&lair.session, fd, below(4) ? 0 : quantity(),
				 below(4) ? BYTES : below(4 * BYTES), (uint32_t)below(4),
				 &remove.region) == 0)
			lair.readonly = remove.region;
		for (unsigned i = 0; i < ENTRIES; i++) {
			fill(&lair, raw_entry(&lair.ring));
			raw_publish(&lair.ring);
		}
		if (below(2))
			(void)!ftruncate(fd, (off_t)below(BYTES));
		if (remove.region && below(4) &&
		    raw_request(&lair.session, &remove.header, NULL, 0, &reply) < 0)
			return;
		for (unsigned i = 0; i < ENTRIES; i++)
			if (!raw_await(&lair.session, &lair.ring, &completion))
				return;
		close(fd);
	}
}

/* The greediest use that is allowed: a large ring that is always full of large copies, which costs
 * the client hardly any CPU time. */
void hog(unsigned seed, void *unused)
{
	/* a second of work, in memory that no cache holds */
	enum { LARGE_RING = 1024, LARGE = 64 << 20 };
	uint32_t region;
	struct vdm_completion completion;
	struct lair lair;

	(void)unused;
	move_in_with(&lair, seed, LARGE_RING);
	raw_region_add(&lair.session, LARGE, 0, &region);
	const struct vdm_completion *all = vdm_completions(lair.ring.completion);

	for (unsigned in_flight = 0;;) {
		const struct vdm_completion *last =
			&all[(lair.ring.completed + LARGE_RING / 2) & (LARGE_RING - 1)];

		while (in_flight < LARGE_RING) {
			struct vdm_descriptor *d = raw_entry(&lair.ring);

			d->opcode = VDM_OPCODE_MEMCPY;
			d->destination_region = d->source_region = region;
			d->destination_offset = LARGE / 2;
			d->length = LARGE / 2;
			raw_publish(&lair.ring);
			in_flight++;
		}
		/* acquire; partner: the engine's consumer_complete() */
		while (atomic_load_explicit(&last->sequence, memory_order_acquire) !=
		       lair.ring.completed + LARGE_RING / 2 + 1) {
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
			if (has_ended(&lair))
				return;
		}
		for (unsigned i = 0; i < LARGE_RING / 2; i++, in_flight--)
			raw_await(&lair.session, &lair.ring, &completion);
	}
}

const struct attacker attackers[] = {
	{"lie in descriptors", lie_in_descriptors},
	{"change what is being read", change_what_is_being_read},
	{"spray the ring", spray_the_ring},
	{"jump in the ring", jump_in_the_ring},
	{"use what is gone", use_what_is_gone},
	{"punch holes", punch_holes},
	{"talk nonsense", talk_nonsense},
	{"never listen", never_listen},
	{"half start rings", half_start_rings},
	{"flood with connections", flood_with_connections},
	{"talk nonsense to the filer", talk_nonsense_to_the_filer},
	{"lie to the filer", lie_to_the_filer},
	{"hog", hog},
	{0},
};

pid_t start_attacker(void (*body)(unsigned seed, void *unused), int other_user)
{
	pid_t test = getpid(), pid = fork();

	CHECK(pid >= 0, "%s", strerror(errno));
	if (pid > 0)
		return pid;
	if (other_user && setuid(ATTACKER_UID) != 0)
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != test)
		_exit(1);
	/* its errors are expected: discard them */
	int null = open("/dev/null", O_WRONLY);

	dup2(null, STDERR_FILENO);
	close(null);
	body((unsigned)rand() ^ (unsigned)getpid() << 8, NULL);
	_exit(0);
}
