/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Recovery of the spool, over several starts, from the files that spool-files.h makes. It always starts.
 * What it gives are records that are whole in one of the files, in ascending order, and nothing else. What
 * is appended gets a number of its own, is read back, and is there at the next start. Of lawful files, every
 * whole record that isn't confirmed comes sooner or later, however the rest of them is damaged; of pristine
 * ones, nothing is said to be damaged.
 */

#include "spool-files.h"

#define KNOWN_MAX (4 * RECORDS_MAX)
#define STARTS_MAX 8
#define APPENDED_FIRST (UINT64_C(1) << 40) /* these numbers make samples that no file has */

/* Known: where a number that names a file lies between records that go into one segment (see straddles()),
 * the next start believes that the records from that number on are in that file, and they are lost. Until
 * that is mended such inputs are held to less; then this is to be false, and the corpus has three of them
 * (bug-straddling-*). */
#define STRADDLING_LOSES true

typedef struct Known {
        uint64_t sequence;
        uint32_t crc;
        bool wanted; /* lawful, and not confirmed: has to come */
        bool seen, confirmed;
} Known;

typedef struct Run {
        Files files;
        Known *known;
        size_t n_known;
        sd_event *event;
        Spool *spool;
        bool patient; /* with a ready callback */
        uint64_t n_appended;
        bool straddles;
        ChannelTimes noted;
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
        _cleanup_(channel_times_deinit) ChannelTimes times = {};
        const uint8_t *end = file->bytes.data + file->bytes.size;
        SegmentFooter footer;
        uint32_t size = 0;

        if (file->bytes.size >= SEGMENT_HEADER_SIZE + SEGMENT_FOOTER_TAIL)
                size = segment_footer_size(end - SEGMENT_FOOTER_TAIL);
        return size > 0 && size <= file->bytes.size - SEGMENT_HEADER_SIZE &&
               segment_footer_decode(end - size, size, &footer, &times) == 0;
}

/* Is this number in a segment of the state tier, so that no copy of it is looked for? A damaged part of that
 * doesn't change it; a cut does. */
static bool is_moved(const Run *run, uint64_t sequence)
{
        for (size_t i = 0; i < run->files.n; i++) {
                const File *file = &run->files.all[i];

                if (!file->gone && file->folder == STATE && file->first <= sequence &&
                        sequence <= file->last)
                        return true;
        }
        return false;
}

/* Are there young records before a segment of the state tier, or before a file that is none? Then a run that
 * could not see the state directory came between, or one of another version, or somebody put the file there.
 */
static bool straddles(const Run *run)
{
        uint64_t last = run->files.foreign;

        for (size_t i = 0; i < run->files.n; i++)
                if (run->files.all[i].folder == STATE)
                        last = MAX(last, run->files.all[i].first);
        for (size_t i = 0; i < run->files.n; i++)
                if (run->files.all[i].folder != STATE && run->files.all[i].first < last)
                        return true;
        return false;
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
                        record.type == RECORD_FOOTER)
                        continue;
                known = add(run, record.sequence, record_crc(record.sequence, &record.sample));
                if (at < next)
                        continue;
                next = at + record.size;
                last = record.sequence;
                known->wanted |= run->files.lawful && record.sequence > run->files.confirmed &&
                                 (file->folder == STATE || !is_moved(run, record.sequence));
        }
        if (!has_footer(file))
                file->last = last;
}

/* --- the spool ---------------------------------------------------------------------------------------- */

static void on_note(const char *channel, uint64_t at_msec, void *userdata)
{
        Run *run = userdata;

        hold(channel_times_note(&run->noted, channel, at_msec) == 0);
}

static void on_ready(void *userdata)
{
        (void) userdata;
}

static void start(Run *run)
{
        static const SpoolLimits limits = {
                .max_size = 64 << 20, .memory = 4 << 20, .sync_usec = 3600 * USEC_PER_SEC};
        _cleanup_(freep) char *state = text_printf("%s/state", fuzz_folder), *error = NULL;
        _cleanup_(freep) char *runtime = text_printf("%s/run", fuzz_folder);

        hold(spool_new(&run->spool, run->event, state, runtime, &limits, on_note, run, &error) == 0 &&
                !error);
        if (run->patient)
                spool_set_ready(run->spool, on_ready, run);
}

/* What was confirmed is done with; all else has to come again. */
static void stop(Run *run, bool killed)
{
        static Snapshot snapshot;

        if (killed)
                snapshot_take(&snapshot);
        run->spool = spool_free(run->spool);
        if (killed)
                snapshot_restore(&snapshot);
        for (size_t i = 0; i < run->n_known; i++)
                if (run->known[i].confirmed)
                        run->known[i].wanted = false;
                else
                        run->known[i].seen = false;
}

static int read_one(Run *run, uint64_t from, uint64_t *ret_sequence, Sample *ret)
{
        int r;

        while ((r = spool_read(run->spool, from, ret_sequence, ret)) == -EAGAIN)
                hold(run->patient && sd_event_run(run->event, UINT64_MAX) >= 0);
        hold(r >= 0);
        return r;
}

static bool was_noted(const Run *run, const Sample *sample)
{
        for (size_t i = 0; i < run->noted.capacity; i++)
                if (run->noted.slots[i].channel && strcmp(run->noted.slots[i].channel, sample->channel) == 0)
                        return run->noted.slots[i].at_msec >= sample->at_msec;
        return false;
}

/* All there is from a number on. How many; the last of their numbers. */
static size_t read_all(Run *run, uint64_t from, uint64_t *ret_last)
{
        uint64_t sequence = 0, last = from - 1;
        size_t n = 0;
        Sample sample;

        while (read_one(run, last + 1, &sequence, &sample) > 0) {
                Known *known = find(run, sequence, record_crc(sequence, &sample));

                hold(sequence > last);
                hold(known);
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

static void append(Run *run, unsigned n)
{
        uint64_t sequence = 0, first = 0, last, found = 0, from;
        Sample sample;

        for (unsigned i = 0; i < n; i++) {
                const Sample *made = sample_of(APPENDED_FIRST + run->n_appended++, run->files.scale);

                last = sequence;
                hold(spool_append(run->spool, made, &sequence) == 0);
                hold(sequence > last);
                for (size_t k = 0; k < run->n_known && run->files.lawful; k++)
                        hold(run->known[k].sequence != sequence);
                add(run, sequence, record_crc(sequence, made))->wanted = !run->straddles;
                first = i == 0 ? sequence : first;
        }
        from = first;
        for (unsigned i = 0; i < n; i++) {
                hold(read_one(run, from, &found, &sample) > 0);
                hold(found == first + i && find(run, found, record_crc(found, &sample)));
                from = found + 1;
        }
        if (n > 0)
                hold(read_one(run, from, &found, &sample) == 0);
}

static void confirm(Run *run, uint64_t sequence)
{
        uint64_t found = 0;
        Sample sample;

        spool_confirm(run->spool, sequence);
        for (size_t i = 0; i < run->n_known; i++)
                if (run->known[i].seen && run->known[i].sequence <= sequence)
                        run->known[i].confirmed = true;
        hold(read_one(run, 0, &found, &sample) == 0 || found > sequence);
}

/* One start in which part of what there is is confirmed; ended by kill -9, or not. */
static void go(Run *run, uint8_t how, uint8_t share)
{
        uint64_t last, sequence;
        SpoolStats stats;
        size_t n;

        start(run);
        n = read_all(run, 1, &last);
        append(run, how % 8);
        hold(read_all(run, 1, &sequence) == n + how % 8);
        if (run->files.pristine) {
                spool_get_stats(run->spool, &stats);
                hold(stats.damaged == 0 && stats.dropped == 0);
                hold(stats.messages == 0 || n + how % 8 > 0); /* it may say 0 where there are few */
        }
        if (share > 0 && n > 0) {
                sequence = 0;
                for (size_t i = 0; i <= n * share / 256; i++) {
                        Sample sample;

                        hold(read_one(run, sequence + 1, &sequence, &sample) > 0);
                }
                confirm(run, sequence);
        }
        stop(run, how & 0x80);
}

/* Reads and confirms until nothing comes any more. */
static void drain(Run *run)
{
        for (unsigned starts = 0;; starts++) {
                uint64_t last;
                SpoolStats stats;

                hold(starts < STARTS_MAX);
                start(run);
                if (read_all(run, 1, &last) == 0)
                        break;
                confirm(run, last);
                spool_get_stats(run->spool, &stats);
                hold(stats.messages == 0);
                stop(run, false);
        }
        stop(run, false);
        for (size_t i = 0; i < run->n_known; i++)
                hold(!run->known[i].wanted);
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
        run.straddles = STRADDLING_LOSES && straddles(&run);
        if (run.straddles)
                run.files.lawful = run.files.pristine = false;
        for (Folder folder = STATE; folder < FOLDERS; folder++)
                for (size_t i = 0; i < run.files.n; i++)
                        if (!run.files.all[i].gone && run.files.all[i].folder == folder)
                                look_at(&run, &run.files.all[i]);

        for (size_t i = 0; i < ELEMENTSOF(how); i++)
                go(&run, how[i], share[i]);
        drain(&run);
        files_deinit(&run.files);
        channel_times_deinit(&run.noted);
        return 0;
}
