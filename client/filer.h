/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The user's filer: a process of the daemon that carries out operations on files. To this library
 * it is another daemon. A client that has regions of files has a client of its own for it,
 * client->filer, which knows copies of all of the client's regions. A ring of that client is the
 * file lane of a ring of this one.
 *
 * What the filer does not know, because it refuses a region or is not there, is done in this
 * process.
 */
#ifndef VDM_CLIENT_FILER_H
#define VDM_CLIENT_FILER_H

struct vdm_client;
struct vdm_region;

/* The caller of these two holds the `talk` of the client's connection. */

/* Connect to the filer, unless that has been done or the daemon has none, and tell it of all
 * regions. */
void filer_open(struct vdm_client *client);

/* Tell the filer, if there is one, of a region that has been added to the client. */
void filer_add(struct vdm_client *client, struct vdm_region *region);

/* Connect again if the filer has gone and the daemon has another one. Takes `talk`. */
void filer_renew(struct vdm_client *client);

/*
 * Have the filer let go of a region that no ring of the client finds any more, and wait until it
 * has, if it may be using it.
 */
void filer_let_go(struct vdm_region *region);

#endif
