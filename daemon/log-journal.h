/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The log's way into the journal, with priorities and the fields SENSOR= and CHANNEL=. */

#include "util/log.h"

/* Uses the journal where stderr is connected to it (as under systemd); otherwise leaves stderr. */
void log_journal_setup(void);
