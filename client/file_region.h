/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of files; vdm_region_open_file() makes them. */
#ifndef VDM_CLIENT_FILE_REGION_H
#define VDM_CLIENT_FILE_REGION_H

struct vdm_region;

/* Take the file from the file engine, and close it. No operation uses the region any more. */
void file_region_forget(struct vdm_region *region);

#endif
