// SPDX-License-Identifier: BSD-3-Clause
// The headers are C++ as well.
#include <cstdio>
#include <cstring>
#include <libvdm.h>
#include <vector>

int main()
{
	data_mover_daemon *mover = data_mover_daemon_default();
	std::vector<char> from(1 << 20, 'x'), to(from.size());

	if (!mover)
		return 1;

	vdm_operation_future copy = vdm_memcpy(data_mover_daemon_get_vdm(mover), to.data(),
					       from.data(), from.size(), 0);

	FUTURE_BUSY_POLL(&copy);
	bool right = FUTURE_OUTPUT(&copy)->result == VDM_SUCCESS && from == to;

	data_mover_daemon_delete(mover);
	std::printf("%zu bytes %s\n", from.size(), right ? "copied" : "are wrong");
	return right ? 0 : 1;
}
