/* SPDX-License-Identifier: BSD-3-Clause */
#include "raw_files.h"

#include "check.h"

void raw_files_open(struct raw_session *daemon, struct raw_session *filer)
{
	const struct vdm_message_files files = {{VDM_MESSAGE_FILES, sizeof files}};
	struct vdm_packet reply;

	CHECK(raw_request(daemon, &files.header, NULL, 0, &reply) == 0, "asking for the filer");
	CHECK(reply.message.header.type == VDM_MESSAGE_FILES_OPENED, "%s",
	      reply.message.refused.text);
	CHECK(reply.fd_count == VDM_FILES_FD_COUNT, "%u descriptors", reply.fd_count);
	filer->socket = reply.fds[VDM_FILES_FD_SOCKET];
	raw_greet(filer);
}

int raw_file_add(struct raw_session *filer, int fd, uint64_t offset, uint64_t size, uint32_t flags,
		 uint32_t *region)
{
	const struct vdm_message_file_add add = {.header = {VDM_MESSAGE_FILE_ADD, sizeof add},
						 .offset = offset,
						 .size = size,
						 .flags = flags};
	struct vdm_packet reply;

	CHECK(raw_request(filer, &add.header, &fd, 1, &reply) == 0, "adding a file");
	if (reply.message.header.type == VDM_MESSAGE_REFUSED)
		return reply.message.refused.error;
	CHECK(reply.message.header.type == VDM_MESSAGE_REGION_ADDED, "type %u",
	      reply.message.header.type);
	*region = reply.message.region_added.region;
	return 0;
}

int raw_copy(struct raw_session *session, struct raw_ring *ring, uint32_t destination,
	     uint32_t source, size_t length, uint16_t flags)
{
	struct vdm_descriptor *descriptor = raw_entry(ring);
	struct vdm_completion completion;

	descriptor->opcode = VDM_OPCODE_MEMCPY;
	descriptor->flags = flags;
	descriptor->destination_region = destination;
	descriptor->source_region = source;
	descriptor->length = length;
	raw_publish(ring);
	CHECK(raw_await(session, ring, &completion), "the connection ended");
	return completion.result;
}
