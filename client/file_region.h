/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of files; vdm_region_open_file() makes them. */
#ifndef VDM_CLIENT_FILE_REGION_H
#define VDM_CLIENT_FILE_REGION_H

struct vdm_region;

/* Release such a region, and wait until no operation uses it. The caller is no forked child. */
void file_region_release(struct vdm_region *region);

#endif
