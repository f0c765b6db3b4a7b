/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Recovery of the spool, over several starts, from the files that spool-files.h makes. It always starts.
 * What it gives are records that are whole in one of the files, in ascending order, and nothing else. What
 * is appended gets a number of its own, is read back, and is there at the next start. Of lawful files, every
 * whole record that isn't confirmed comes sooner or later, however the rest of them is damaged, unless it is
 * counted as dropped; of pristine ones, nothing is said to be damaged.
 */

#include "spool-files.h"
#include "util/clock.h"

#define KNOWN_MAX (4 * RECORDS_MAX)
#define STARTS_MAX 8
#define APPENDED_FIRST (UINT64_C(1) << 40) /* these numbers make samples that no file has */
#define SETTLE_USEC (2 * USEC_PER_SEC)

/* What a start is like, by bits; below them, how many are appended. */
#define HOW_APPENDED 7
#define HOW_LIVE 8     /* what is appended is read in the other lane, and confirmed first */
#define HOW_SMALL 16   /* there is little room */
#define HOW_SENSORS 32 /* each has its policy */
#define HOW_TTL 64     /* and one has a ttl: all of it is past, but what has no time */
#define HOW_KILLED 128

typedef struct Known {
        uint64_t sequence;
        uint32_t crc;
        bool wanted; /* lawful, and not confirmed: has to come */
        bool seen, confirmed, mortal;
} Known;

typedef struct Run {
        Files files;
        Known *known;
        size_t n_known;
        sd_event *event;
        Spool *spool;
        bool patient; /* with a ready callback */
        uint8_t how;  /* this start */
        uint64_t n_appended;
        uint64_t dropped; /* counted in all starts */
        bool blind;       /* more may have been dropped at a stop */
        Summary noted;
        uint64_t boot_msec;
} Run;

static uint32_t record_crc(uint64_t sequence, const Sample *sample)
{
        static uint8_t record[RECORD_MAX];
        int size = record_encode(record, sequence, sample);

        hold(size > 0);
        return crc32c(0, record, (size_t) size);
}

static Known *find(Run *run, uint64_t sequence, uint32_t crc)
{
        for (size_t i = 0; i < run->n_known; i++)
                if (run->known[i].sequence == sequence && run->known[i].crc == crc)
                        return &run->known[i];
        return NULL;
}

static Known *add(Run *run, uint64_t sequence, uint32_t crc)
{
        Known *known = find(run, sequence, crc);

        if (known)
                return known;
        hold(run->n_known < KNOWN_MAX);
        run->known[run->n_known] = (Known){.sequence = sequence, .crc = crc};
        return &run->known[run->n_known++];
}

static bool has_footer(const File *file)
{
        _cleanup_(summary_deinit) Summary summary = {};
        SegmentFooter footer;

        return footer_of(file->bytes.data, file->bytes.size, &footer, &summary) >= 0;
}

/* Is this number, or one near behind it, in a segment of the state tier, so that no copy of it is looked
 * for? A damaged part of that doesn't change it; a cut does. */
static bool is_moved(const Run *run, uint64_t sequence)
{
        for (size_t i = 0; i < run->files.n; i++) {
                const File *file = &run->files.all[i];

                if (!file->gone && file->folder == STATE && file->first <= file->last &&
                        sequence <= file->last && !is_far(sequence, file->first))
                        return true;
        }
        return false;
}

/* Young records are copied in order: none is in the state tier while an older one isn't. */
static bool is_disordered(const Run *run)
{
        const Files *files = &run->files;
        uint64_t first = UINT64_MAX;

        for (size_t i = 0; i < files->n; i++) {
                const File *file = &files->all[i];

                if (!file->gone && file->folder != STATE && !is_moved(run, file->first))
                        first = MIN(first, file->first);
        }
        for (size_t i = 0; i < files->n; i++)
                for (size_t k = 0; k < files->n; k++) {
                        const File *young = &files->all[i], *old = &files->all[k];

                        if (young->folder != STATE && old->folder == STATE && young->first > first &&
                                young->first <= old->last && old->first <= young->last)
                                return true;
                }
        return false;
}

static bool is_mortal(const Sample *sample)
{
        return !sample->boot && sample->at_msec > 0 && strcmp(sample->sensor, "s1") == 0;
}

/* Whatever is a whole record, wherever it is. */
static void look_at(Run *run, File *file)
{
        const Bytes *bytes = &file->bytes;
        size_t next = SEGMENT_HEADER_SIZE; /* behind the last that does not lie in another */
        uint64_t last = file->first - 1;

        for (size_t at = SEGMENT_HEADER_SIZE; at < bytes->size && run->n_known < KNOWN_MAX / 2; at++) {
                Record record;
                Known *known;

                /* Quickly past what is none. */
                if (bytes->size - at < RECORD_HEADER_SIZE ||
                        (bytes->data[at + 8] != RECORD_SAMPLE && bytes->data[at + 8] != RECORD_HELD))
                        continue;
                if (record_decode(bytes->data + at, bytes->size - at, 0, &record) < 0 ||
                        record_is_footer(&record))
                        continue;
                known = add(run, record.sequence, record_crc(record.sequence, &record.sample));
                known->mortal = is_mortal(&record.sample);
                if (at < next)
                        continue;
                next = at + record.size;
                last = record.sequence;
                known->wanted |= run->files.lawful && !was_confirmed(&run->files, record.sequence) &&
                                 (file->folder == STATE || !is_moved(run, record.sequence));
        }
        if (!has_footer(file))
                file->last = last;
}

static bool expires(const Run *run, const Known *known)
{
        return known->mortal && (run->how & (HOW_TTL | HOW_SENSORS)) == (HOW_TTL | HOW_SENSORS);
}

/* --- the spool ---------------------------------------------------------------------------------------- */

static void on_note(const SpoolNoted *noted, void *userdata)
{
        Run *run = userdata;
        SummaryEntry entry = {.sensor = (char *) (uintptr_t) noted->sensor,
                .channel = noted->channel,
                .at_msec = noted->at_msec};

        if (noted->boot)
                run->boot_msec = MAX(run->boot_msec, noted->at_msec);
        else {
                if (run->files.lawful)
                        hold(noted->at_msec > 0 && noted->at_msec < BOOT_MSEC);
                hold(summary_add_entry(&run->noted, &entry) == 0);
        }
}

static void on_ready(void *userdata)
{
        (void) userdata;
}

static void start(Run *run, uint8_t how)
{
        SpoolLimits limits = {.max_size = how & HOW_SMALL ? 512 << 10 : 64 << 20,
                .memory = how & HOW_SMALL ? 128 << 10 : 4 << 20,
                .sync_usec = how & HOW_SMALL ? 1000 : 3600 * USEC_PER_SEC,
                .policy = {.priority = 5}};
        const SpoolSensor sensors[] = {
                {"s0", {.priority = 9}},
                {"s1", {.priority = 5,
                               .when_full = SPOOL_FULL_NEWEST,
                               .ttl_usec = how & HOW_TTL ? 3600 * USEC_PER_SEC : 0}},
                {"s2", {.priority = 5, .when_full = SPOOL_FULL_THIN}},
        };
        _cleanup_(freep) char *state = text_printf("%s/state", fuzz_folder), *error = NULL;
        _cleanup_(freep) char *runtime = text_printf("%s/run", fuzz_folder);

        run->how = how;
        hold(spool_new(&run->spool, run->event, state, runtime, &limits, sensors,
                     how & HOW_SENSORS ? ELEMENTSOF(sensors) : 0, on_note, run, &error) == 0 &&
                !error);
        if (run->patient)
                spool_set_ready(run->spool, on_ready, run);
        for (size_t i = 0; i < run->n_known; i++)
                if (expires(run, &run->known[i]))
                        run->known[i].wanted = false;
}

/* Until the disk has nothing to do, so that all that is dropped is counted. */
static void settle(Run *run)
{
        uint64_t until = clock_monotonic_usec() + SETTLE_USEC;

        while (run->spool->armed_usec != UINT64_MAX && !run->spool->trouble) {
                hold(clock_monotonic_usec() < until);
                hold(sd_event_run(run->event, SETTLE_USEC) >= 0);
        }
        run->blind |= run->spool->armed_usec != UINT64_MAX;
}

/* What was confirmed is done with; all else has to come again. */
static void stop(Run *run)
{
        static Snapshot snapshot;
        SpoolStats stats;

        if (run->how & HOW_SMALL)
                settle(run);
        spool_get_stats(run->spool, &stats);
        run->dropped += stats.dropped;
        if (run->how & HOW_KILLED)
                snapshot_take(&snapshot);
        run->spool = spool_free(run->spool);
        if (run->how & HOW_KILLED)
                snapshot_restore(&snapshot);
        for (size_t i = 0; i < run->n_known; i++)
                if (run->known[i].confirmed)
                        run->known[i].wanted = false;
                else
                        run->known[i].seen = false;
}

static int read_one(Run *run, SpoolLane lane, uint64_t from, uint64_t *ret_sequence, Sample *ret)
{
        int r;

        while ((r = spool_read(run->spool, lane, from, ret_sequence, ret)) == -EAGAIN)
                hold(run->patient && sd_event_run(run->event, UINT64_MAX) >= 0);
        hold(r >= 0);
        return r;
}

static bool was_noted(const Run *run, const Sample *sample)
{
        const SummaryEntry *entry = summary_find(&run->noted, sample->sensor, sample->channel);

        if (sample->boot)
                return run->boot_msec >= sample->at_msec;
        return sample->at_msec == 0 || (entry && entry->at_msec >= sample->at_msec);
}

/* All there is from a number on. How many; the last of their numbers. */
static size_t read_all(Run *run, uint64_t from, uint64_t *ret_last)
{
        uint64_t sequence = 0, last = from - 1;
        size_t n = 0;
        Sample sample;

        while (read_one(run, SPOOL_BACKLOG, last + 1, &sequence, &sample) > 0) {
                Known *known = find(run, sequence, record_crc(sequence, &sample));

                hold(sequence > last);
                hold(known && !expires(run, known));
                if (run->files.pristine && run->n_appended == 0)
                        hold(was_noted(run, &sample));
                known->seen = true;
                last = sequence;
                n++;
        }
        if (getenv("FUZZ_SHOW"))
                fprintf(stderr, "%zu records read, to %" PRIu64 "\n", n, last);
        *ret_last = last;
        return n;
}

/* How many that can be read back; the first and the last of their numbers. */
static size_t append(Run *run, unsigned n, uint64_t *ret_first, uint64_t *ret_last)
{
        SpoolLane lane = run->how & HOW_LIVE ? SPOOL_LIVE : SPOOL_BACKLOG;
        uint64_t sequence = 0, found = 0, last, from;
        size_t n_living = 0, n_read = 0;
        Sample sample;

        *ret_first = spool_end(run->spool);
        for (unsigned i = 0; i < n; i++) {
                const Sample *made = sample_of(APPENDED_FIRST + run->n_appended++, run->files.scale);
                Known *known;
                int r;

                last = sequence;
                r = spool_append(run->spool, made, &sequence);
                if (r == -ENOSPC && (run->how & HOW_SMALL))
                        continue;
                hold(r == 0);
                hold(sequence > last && sequence >= *ret_first);
                for (size_t k = 0; k < run->n_known && run->files.lawful; k++)
                        hold(run->known[k].sequence != sequence);
                known = add(run, sequence, record_crc(sequence, made));
                known->mortal = is_mortal(made);
                known->wanted = !expires(run, known);
                n_living += known->wanted;
        }
        *ret_last = spool_end(run->spool) - 1;
        for (from = *ret_first; read_one(run, lane, from, &found, &sample) > 0; from = found + 1) {
                hold(found <= *ret_last && find(run, found, record_crc(found, &sample)));
                n_read++;
        }
        hold(n_read == n_living || ((run->how & HOW_SMALL) && n_read < n_living));
        return n_read;
}

static void confirm(Run *run, uint64_t first, uint64_t last)
{
        uint64_t found = 0;
        Sample sample;

        spool_confirm(run->spool, first, last);
        for (size_t i = 0; i < run->n_known; i++)
                if (run->known[i].seen && run->known[i].sequence >= first &&
                        run->known[i].sequence <= last) {
                        run->known[i].confirmed = true;
                        hold(spool_is_confirmed(run->spool, run->known[i].sequence));
                }
        hold(read_one(run, SPOOL_BACKLOG, first, &found, &sample) == 0 || found > last);
}

static void check_stats(Run *run, size_t n)
{
        SpoolStats stats;

        spool_get_stats(run->spool, &stats);
        hold(stats.messages > 0 || n == 0 || (run->how & HOW_SMALL));
        if (!run->files.pristine)
                return;
        hold(stats.damaged == 0);
        hold(stats.dropped == 0 || (run->how & (HOW_SMALL | HOW_TTL)));
}

/* One start in which part of what there is is confirmed; ended by kill -9, or not. */
static void go(Run *run, uint8_t how, uint8_t share)
{
        uint64_t last, first_new, last_new;
        size_t n, n_new;

        start(run, how);
        n = read_all(run, 1, &last);
        check_stats(run, n);
        n_new = append(run, how & HOW_APPENDED, &first_new, &last_new);
        if (how & HOW_SMALL) {
                settle(run);
                n = read_all(run, 1, &last);
        } else {
                n += n_new;
                hold(read_all(run, 1, &last) == n);
        }
        check_stats(run, n);
        if ((how & HOW_LIVE) && n_new > 0) {
                confirm(run, first_new, last_new);
                n = read_all(run, 1, &last);
                check_stats(run, n);
        }
        if (share % 2)
                spool_rest(run->spool, SPOOL_LIVE);
        if (share > 0 && n > 0) {
                uint64_t sequence = 0;

                for (size_t i = 0; i <= n * share / 256; i++) {
                        Sample sample;

                        hold(read_one(run, SPOOL_BACKLOG, sequence + 1, &sequence, &sample) > 0);
                }
                confirm(run, 1, sequence);
        }
        stop(run);
}

/* Reads and confirms until nothing comes any more. */
static void drain(Run *run)
{
        uint64_t missing = 0;

        for (unsigned starts = 0;; starts++) {
                uint64_t last;
                SpoolStats stats;

                hold(starts < STARTS_MAX);
                start(run, 0);
                if (read_all(run, 1, &last) == 0)
                        break;
                confirm(run, 1, last);
                spool_get_stats(run->spool, &stats);
                /* What is missing before an island counts until something behind it is confirmed. */
                hold(stats.messages == 0 || run->spool->islands.n > 0);
                stop(run);
        }
        stop(run);
        for (size_t i = 0; i < run->n_known; i++)
                if (run->known[i].wanted) {
                        missing++;
                        if (getenv("FUZZ_SHOW"))
                                fprintf(stderr, "missing: %" PRIu64 "\n", run->known[i].sequence);
                }
        hold(missing <= run->dropped || run->blind);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        BytesReader input = {.data = data, .size = size};
        static Known known[KNOWN_MAX];
        static sd_event *event;
        Run run = {.known = known};
        uint8_t how[2], share[2];

        log_set_sink(getenv("FUZZ_SHOW") ? NULL : fuzz_ignore_log);
        if (!event)
                hold(sd_event_new(&event) >= 0);
        run.event = event;
        (void) fuzz_folder_get();
        run.patient = bytes_get_u8(&input) & 1;
        for (size_t i = 0; i < ELEMENTSOF(how); i++) {
                how[i] = bytes_get_u8(&input);
                share[i] = bytes_get_u8(&input);
        }
        files_make(&run.files, &input);
        if (getenv("FUZZ_SHOW"))
                files_show(&run.files);
        for (Folder folder = STATE; folder < FOLDERS; folder++) {
                if (folder == RUNTIME && is_disordered(&run)) {
                        run.files.lawful = run.files.pristine = false;
                        for (size_t i = 0; i < run.n_known; i++)
                                run.known[i].wanted = false;
                }
                for (size_t i = 0; i < run.files.n; i++)
                        if (!run.files.all[i].gone && run.files.all[i].folder == folder)
                                look_at(&run, &run.files.all[i]);
        }

        for (size_t i = 0; i < ELEMENTSOF(how); i++)
                go(&run, how[i], share[i]);
        drain(&run);
        files_deinit(&run.files);
        summary_deinit(&run.noted);
        return 0;
}
