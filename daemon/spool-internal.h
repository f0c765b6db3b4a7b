/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the files of the spool share. Who does what:
 *
 *   spool-record.c   what the bytes of a segment file mean; a reader over a buffer; pure
 *   spool-summary.c  what is in a segment, in short; the footer that says it
 *   spool-segment.c  a tier: its folder, its lock, the list of its segment files
 *   spool-recover.c  what is found in a tier, and setting damaged parts aside
 *   spool-young.c    where young records go: the runtime directory, a spare folder, memory
 *   spool-writer.c   how records get into segments of the state tier, and synced
 *   spool-disk.c     the thread that does everything slow on the state tier, one job at a time
 *   spool-flush.c    what goes to the disk and when; trouble with the disk
 *   spool-policy.c   the sensors' policies, and counts by sensor; pure
 *   spool-plan.c     what is to go when there is no room; pure
 *   spool-trim.c     lets it go, and what stays is put together;
 *   spool-trim-write.c   in new files
 *   spool-evict.c    when, in which tier; what is counted and logged of it
 *   spool-read.c     the cursors, one a lane
 *   spool-open.c     opening, and how the two tiers fit together
 *   spool.c          the object: append, confirm, close
 *
 * The event loop's thread owns all of Spool; the disk's thread owns Disk while a job is under way. Once the
 * spool is open, only that thread touches the state directory, but for the spare folder, to which the loop
 * writes (never syncing) while the runtime directory can't be used; and without a ready callback,
 * spool_read() reads there as well.
 */

#include <sys/types.h>

#include "ranges.h"
#include "spool-trim.h"
#include "spool.h"
#include "util/backoff.h"
#include "util/bytes.h"

/* --- Records (spool-record.c) ------------------------------------------------------------------------- */

#define SEQUENCE_MAX (UINT64_C(1) << 61)
/* Numbers are given one after the other, and few are missing between what is there: of what was confirmed or
 * dropped. Where the next number is moved, past files that can't be read now and may be read some day, it is
 * by more than that; no segment has numbers from both sides of such a jump, so such a file, once it is read,
 * is in nobody's way. */
#define NUMBERS_NEAR (UINT64_C(1) << 28)
#define NUMBERS_GAP (UINT64_C(1) << 32)
#define SEGMENT_HEADER_SIZE 32
#define SEGMENT_FILE_MAX (UINT32_C(512) << 20) /* what is larger isn't ours */
#define POSITION_NAME "confirmed"              /* in the runtime (or spare) folder: what is confirmed */

/*
 * A segment file: a header (magic, version, first sequence number, CRC), then records, in ascending order of
 * their sequence numbers. A record: CRC-32C of all that follows, size of the whole, type, sequence number
 * (17 bytes, little-endian); then, for a sample, its id, time, the lengths of sensor and channel, and
 * sensor, channel and data, each with a NUL. One that is held until the clock is set has its boot's id
 * behind the time. A record does not know where it is, so it is copied as it stands. A segment that gets no
 * more records is sealed with a footer, a record that sums it up and ends with its own size: so a full spool
 * is opened without reading it.
 */
#define RECORD_HEADER_SIZE 17
#define RECORD_SAMPLE_SIZE (RECORD_HEADER_SIZE + SAMPLE_ID_SIZE + 8 + 2 + 3) /* with no text at all */
#define RECORD_TEXT_MAX UINT8_MAX                                            /* of sensor and of channel */
#define RECORD_MAX (RECORD_SAMPLE_SIZE + SAMPLE_BOOT_SIZE + 2 * RECORD_TEXT_MAX + SAMPLE_DATA_MAX)

typedef enum RecordType {
        RECORD_SAMPLE = 1,
        RECORD_FOOTER = 2, /* of version 1: where the records end, no more */
        RECORD_HELD = 3,
        RECORD_SUMMARY = 4,
} RecordType;

typedef struct Record {
        RecordType type;
        uint32_t size; /* the whole record; after -ENODATA: how many bytes it takes to tell more */
        uint64_t sequence;
        const uint8_t *data; /* the record as it stands, borrowed from the buffer */
        Sample sample;       /* of a sample; its text is borrowed as well */
} Record;

static inline bool record_is_footer(const Record *record)
{
        return record->type == RECORD_FOOTER || record->type == RECORD_SUMMARY;
}

#define SEGMENT_FOOTER_TAIL 8 /* its size and a magic */

/* Writes into out, which has room for RECORD_MAX. Its size, -EINVAL (a NUL in the data) or -EMSGSIZE. */
int record_encode(uint8_t *out, uint64_t sequence, const Sample *sample);
/* The record at data, which has to have a number above `after`. 0, -ENODATA (more bytes needed, see
 * ret->size), -EBADMSG (no record). */
int record_decode(const uint8_t *data, size_t size, uint64_t after, Record *ret);
/* Fills in the header of a record whose body is there. */
void record_finish(uint8_t *record, uint32_t size, RecordType type, uint64_t sequence);

void segment_header_encode(uint8_t out[static SEGMENT_HEADER_SIZE], uint64_t first);
/* 0, -EBADMSG (not a whole header), -EPROTONOSUPPORT (another version). */
int segment_header_decode(const uint8_t data[static SEGMENT_HEADER_SIZE], uint64_t first);

/* Goes through a segment by way of a buffer that somebody else fills. Behind a damaged part it goes on at
 * the next whole record. */
typedef struct Reader {
        uint8_t *buffer; /* has the segment's bytes from base on */
        size_t capacity;
        uint32_t base, length;
        uint32_t offset, end; /* of the next record; of what may be read */
        uint32_t need;        /* READER_FILL: from offset on at least so many, or to the end */
        uint32_t damage;      /* where the damaged part being skipped began; 0: none */
        uint32_t count;       /* records before offset */
        uint64_t last;        /* number of the record before offset */
} Reader;

typedef enum ReaderResult {
        READER_END,
        READER_RECORD,
        READER_FILL,
        READER_DAMAGE, /* from ret_damage to offset; go on */
} ReaderResult;

#define READER_BUFFER_SIZE 65536

void reader_deinit(Reader *reader);
void reader_seek(Reader *reader, uint32_t offset, uint32_t count, uint64_t last);
ReaderResult reader_next(Reader *reader, Record *ret, uint32_t *ret_damage);
/* Reads from the file what READER_FILL asked for. 0, -ENODATA (the file is shorter than it was), -errno. */
int reader_fill(Reader *reader, int fd);
bool reader_has(const Reader *reader); /* what READER_FILL asked for */

/* --- Tiers (spool-segment.c) -------------------------------------------------------------------------- */

/* Of a young segment; the further down, the worse. */
typedef enum Place {
        PLACE_RUNTIME,
        PLACE_SPARE,  /* a file in the spare folder */
        PLACE_MEMORY, /* no file: lost in a crash */
} Place;

typedef struct Segment {
        uint64_t first; /* at or below its first record's number; names the file */
        uint64_t last;  /* its last record's number */
        uint32_t size;  /* up to the end of its last record */
        uint32_t file_size;
        uint32_t count;
        /* The part that has gone already (confirmed, or moved to the other tier), as far as known. */
        uint64_t head_last;
        uint32_t head, head_count;
        uint32_t checked; /* damage before this offset has been reported */
        int fd;           /* runtime tier: open; state tier: -1 */
        Place place;      /* runtime tier */
        bool renewed;     /* by the trim that is being taken */
        bool unreadable;  /* in part, for longer than is waited for: when it goes, its file is kept aside */
} Segment;

typedef struct Tier {
        char *path;
        int fd; /* the folder, locked; -1: not usable */
        Segment *segments;
        size_t n_segments, capacity;
        uint64_t bytes;       /* of the files */
        uint64_t stray_bytes; /* of those among them that aren't in the list: see tier_stray() */
        bool apart; /* a file that isn't in the list could not be removed: no segment may span its number */
} Tier;

#define TIER_INIT ((Tier){.fd = -1})

typedef char SegmentName[32];
const char *segment_name(SegmentName buffer, uint64_t first);
int segment_name_parse(const char *name, uint64_t *ret_first); /* -EINVAL */

Segment segment_new(uint64_t first, int fd);

#define TIER_NAME "spool"
#define SPARE_NAME "young" /* in the state directory */

/* The folder `name` in directory: made, opened, locked. -EBUSY: another daemon has it. */
int tier_open(Tier *tier, const char *directory, const char *name, char **ret_error);
/* The spare folder, if there is one. 0 or -errno, logged. */
int tier_open_spare(Tier *tier, const char *state_directory);
void tier_deinit(Tier *tier);
int tier_add(Tier *tier, const Segment *segment); /* the new last; takes its fd over when 0 */
void tier_remove(Tier *tier, size_t index);       /* from the list; the file stays */
/* Takes those from index on out of the list: their numbers don't fit into this run, the next start takes
 * them. How many messages that are. */
uint64_t tier_stray(Tier *tier, size_t index);
void tier_account(Tier *tier);                         /* after sizes changed */
size_t tier_find(const Tier *tier, uint64_t sequence); /* first that reaches it, or n_segments */

static inline uint64_t tier_blocks(uint64_t size) /* what a file takes */
{
        return (size + 4095) & ~UINT64_C(4095);
}

static inline bool is_far(uint64_t last, uint64_t next)
{
        return next > last && next - last > NUMBERS_NEAR;
}

int write_all(int fd, const void *data, size_t size, uint64_t offset);

/* --- Recovery (spool-recover.c) ----------------------------------------------------------------------- */

/* Where damaged parts are kept, and how much of them. */
typedef struct Aside {
        char *path;
        uint64_t limit;
} Aside;

/* Keeps a copy of part of a segment. 0, -ENOSPC (there is enough in there), -errno. */
int aside_keep(const Aside *aside, int fd, uint64_t first, uint32_t from, uint32_t to);
/* The same with a whole file of this folder, which is moved there. */
int aside_keep_file(const Aside *aside, int folder, const char *name);

typedef struct Recovery {
        const Aside *aside;
        uint64_t floor; /* up to here, everything is confirmed or in the other tier */
        uint64_t damaged;
        uint64_t alone; /* the highest number that names a file that was left alone */
        uint64_t below; /* the last number of the segment before */
        Summary summary;
        /* The state tier's last segment, where it has room and isn't sealed. */
        int tail_fd;
        Segment tail;
        Summary tail_summary;
} Recovery;

#define RECOVERY_INIT(a, f) ((Recovery){.aside = (a), .floor = (f), .tail_fd = -1})

void recovery_deinit(Recovery *recovery);
/* Fills the list of a tier that has been opened. `keep_open`: the runtime tier. Logs what it finds. */
int tier_recover(Tier *tier, bool keep_open, Recovery *recovery);
int tier_is_empty(const Tier *tier); /* 0: it has no segment files; -ENOTEMPTY, -errno */

/* --- The disk (spool-writer.c, spool-disk.c) ---------------------------------------------------------- */

typedef struct Writer {
        int directory;         /* the state tier's folder; own copy; -1: not open */
        uint32_t segment_size; /* a segment gets no larger than this, but for one large record */
        int fd;                /* of the segment being written; -1: none */
        Segment segment, synced;
        bool created;  /* its name isn't synced yet */
        Bytes pending; /* the last bytes of segment, not in the file yet */
        Summary summary;
} Writer;

#define DISK_SOURCES_MAX 96
#define DISK_WRITTEN_MAX 96
#define DISK_ASIDES_MAX 8
#define DISK_FETCH_SIZE (128 * 1024)

typedef struct DiskSource { /* whole records of a runtime segment */
        int fd;
        uint32_t from, to;
        uint64_t after; /* they are above this */
} DiskSource;

typedef struct DiskRemove {
        uint64_t first;
        bool keep; /* aside */
} DiskRemove;

typedef struct DiskAside {
        uint64_t first;
        uint32_t from, to;
} DiskAside;

/* Done in this order. */
typedef struct DiskJob {
        bool open; /* the state directory, which could not be opened before */
        Tier opened, opened_spare;
        Recovery recovery;
        char *open_error;

        DiskAside asides[DISK_ASIDES_MAX]; /* parts that were found to be damaged */
        size_t n_asides;

        DiskRemove *remove;
        size_t n_remove;
        bool unremoved; /* one of them could not be */

        bool fetch; /* part of a segment into memory */
        SpoolLane fetch_lane;
        uint64_t fetch_first;
        Reader fetched;
        int fetch_result;

        Trim trim; /* with segments to make room in */

        DiskSource sources[DISK_SOURCES_MAX]; /* are appended and synced */
        size_t n_sources;
        uint64_t skip;       /* but not what is confirmed: up to here … */
        Ranges skip_islands; /* … and these */
        uint64_t last;       /* the last of the sources' numbers */
        Segment written[DISK_WRITTEN_MAX];
        size_t n_written;
        size_t unreadable; /* sources that could not be read to their end */
        uint64_t through;  /* all up to this number is safe */

        int result; /* of open and append */
} DiskJob;

typedef struct Disk Disk;

int writer_copy(Writer *writer, DiskJob *job);
void writer_close(Writer *writer);
/* Seals and closes the segment being written, so that it can be trimmed. How large it has become; 0: none
 * was being written, or it could not be sealed. */
uint32_t writer_end(Writer *writer);
/* Puts a footer. Its size, or 0: there are too many channels, and it stays unsealed, and is read when it is
 * opened. */
uint32_t segment_put_footer(
        Bytes *out, const Segment *segment, const Summary *summary, uint32_t segment_size);

int disk_new(Disk **ret, const char *state_directory, uint32_t segment_size, const Aside *aside,
        const SpoolPolicies *policies);
/* If a job is still under way, the thread ends by itself after it, and frees. */
Disk *disk_free(Disk *disk);
int disk_fd(const Disk *disk);    /* readable when a job is done */
Writer *disk_writer(Disk *disk);  /* while idle */
DiskJob *disk_job(Disk *disk);    /* to be filled in; NULL: busy */
int disk_start(Disk *disk);       /* -errno: no thread to be had */
void disk_fail(Disk *disk);       /* the job could not be started: done all the same */
DiskJob *disk_finish(Disk *disk); /* what is done, or NULL; idle from here */
void disk_clear(Disk *disk);      /* the job has been looked at */
void disk_wait(Disk *disk, uint64_t deadline_usec);

/* --- The object --------------------------------------------------------------------------------------- */

/* Records up to the next mark's number are as old as this. */
typedef struct AgeMark {
        uint64_t sequence, usec;
} AgeMark;

/* Where a record ended that has been read: so that confirming is exact without looking again. */
typedef struct ReadMark {
        uint64_t sequence;
        uint64_t segment : 63, state : 1; /* which tier's */
        uint32_t end, count;
} ReadMark;

#define AGE_MARKS 16
#define READ_MARKS 2048 /* a power of two; more than are on their way in a lane */

typedef enum Fetch { FETCH_NONE, FETCH_WANTED, FETCH_RUNNING, FETCH_DONE } Fetch;

typedef struct Cursor {
        const Tier *tier; /* whose segment is in the reader; NULL: none */
        uint64_t segment;
        int fd; /* state tier without a ready callback */
        Reader reader;
        bool resting;
        uint64_t skipped_from, skipped_to; /* in between, all have outlived their ttl */
        uint64_t empty_from, empty_to;     /* in between, nothing was found that is to be read */
        uint64_t failing_usec;             /* since when it can't read; 0: it can */

        Fetch fetch; /* what the disk is asked for */
        uint64_t fetch_segment;
        uint32_t fetch_offset, fetch_need, fetch_end;
        int fetch_result;
        Reader fetched;

        ReadMark *reads; /* a ring, from first_read to next_read */
        size_t first_read, next_read;
} Cursor;

struct Spool {
        SpoolLimits limits;
        SpoolPolicies policies;
        SpoolNote note;
        SpoolReady ready;
        void *note_userdata, *ready_userdata;
        char *state_directory, *runtime_directory;
        Aside aside;
        sd_event_source *timer, *done;
        uint64_t armed_usec; /* the timer's; UINT64_MAX: not armed */

        Tier runtime, state;
        Tier spare; /* only the folder: its segments are in the runtime tier's list */
        uint32_t runtime_segment_size, state_segment_size;
        uint64_t next;      /* number of the next record */
        uint64_t confirmed; /* up to here, and … */
        Ranges islands;     /* … these as well: what was new went out beside what had waited */
        uint64_t moved;     /* up to here nothing is needed in the runtime tier */
        /* Messages in the state directory that wait for the next start, as it could not be opened at this
         * one. Until then it has to be kept in the position file that they aren't confirmed. */
        uint64_t strays;
        bool frozen;
        int position_fd, spare_position_fd; /* the latter is used where the former can't be written */
        uint8_t *scratch;                   /* RECORD_MAX */

        AgeMark ages[AGE_MARKS];
        size_t n_ages;

        Cursor cursors[SPOOL_LANES];

        Disk *disk;
        DiskRemove *remove; /* segments for the disk to remove */
        size_t n_remove, remove_capacity;
        DiskAside asides[DISK_ASIDES_MAX];
        size_t n_asides;
        uint64_t copying; /* the runtime segments up to this number are in use; 0: none */
        uint64_t retry_usec;
        Backoff backoff; /* active: the disk is in trouble */
        bool stopping;

        uint64_t damaged, appended_messages, appended_bytes;
        bool clock_known;
        Range hole;        /* may be in what could not be seen: not confirmed by others */
        uint64_t boundary; /* the backlog lane ends before it; 0: nowhere */
        Ranges expired;    /* in these, what had outlived its ttl when it was read is counted */
        SpoolCounts dropped;
        bool trimming; /* a job changes the state tier's segments */
        bool squeeze;  /* the disk is full before max_size is reached */
        bool evicting;
        SpoolCounts evicted;   /* in this episode */
        uint64_t evicted_usec; /* the last time */
        uint64_t full_usec;    /* the last time for room; 0: so far it was for a ttl only */
        bool volatile_memory;
        bool exposed;                  /* some are in memory only */
        Place young_place, said_place; /* while there is runtime_trouble: as it says, and as was logged */
        uint64_t young_retry_usec;
        Backoff young_backoff;
        int trouble_error;
        char *trouble, *runtime_trouble, *strays_trouble;
};

/* Up to where everything behind this number is confirmed. */
static inline uint64_t spool_reach(const Spool *spool, uint64_t sequence)
{
        return ranges_reach(&spool->islands, MAX(sequence, spool->confirmed));
}

static inline uint64_t spool_floor(const Spool *spool) /* of the runtime tier */
{
        return spool_reach(spool, spool->moved);
}

/* Is nothing in this segment needed any more? */
static inline bool spool_is_gone(const Spool *spool, const Tier *tier, const Segment *segment)
{
        uint64_t gone = tier == &spool->runtime ? MAX(segment->head_last, spool->moved) : segment->head_last;

        return spool_reach(spool, gone) >= segment->last;
}

/* What in it is needed still; bytes roughly. Exact as long as no number is missing but of what is confirmed;
 * 0 when all is. */
void spool_living(const Spool *spool, const Tier *tier, const Segment *segment, uint64_t *ret_messages,
        uint64_t *ret_bytes);

/* Bytes of the state tier. A file that is being rewritten is there twice for a moment. */
static inline uint64_t spool_capacity(const Spool *spool)
{
        return spool->limits.max_size - spool->state_segment_size / 2 * 3;
}

/* spool.c */
void spool_set_confirmed(Spool *spool, uint64_t first, uint64_t last);

/* spool-flush.c */
void spool_plan(Spool *spool);   /* starts what is due, or sets the timer */
int spool_finish(Spool *spool);  /* takes the result of a job: what became of its writing */
void spool_age(Spool *spool);    /* a record has been appended */
void spool_forget(Spool *spool); /* drops what isn't needed any more */
void spool_set_trouble(Spool *spool, int error, const char *sentence);

/* spool-evict.c */
/* Makes room in the runtime tier, at once. false: nothing can go. */
bool spool_evict_runtime(Spool *spool);
/* Has the job make room in the state tier for so many bytes more, if there isn't. */
void spool_fill_trim(Spool *spool, DiskJob *job, uint64_t bytes);
void spool_take_trim(Spool *spool, Trim *trim);
void spool_drop(Spool *spool, const char *sensor); /* counts one that was refused */
bool spool_expires(Spool *spool, SpoolLane lane, const Record *record);
bool spool_episode_over(Spool *spool); /* is it, just now? says so */
/* Is it full, and is something dropped for that, or was a moment ago? */
bool spool_makes_room(const Spool *spool);
void spool_episode_end(Spool *spool);

/* spool-young.c */
/* Puts the record in scratch into a young segment. 0: it survives a crash; 1: it is in memory only, as
 * neither directory takes it (`safe`: it isn't put then); -errno. */
int young_put(Spool *spool, uint32_t size, bool safe);
void spool_drop_runtime(Spool *spool, size_t index);
void spool_set_young_trouble(Spool *spool, Place place, int runtime_error, int spare_error);
int position_open(const Tier *tier, bool create); /* -1: can't */
void position_save(Spool *spool);

/* spool-read.c */
extern uint64_t spool_failing_usec; /* so long a disk that can't be read is given to recover */
void cursor_deinit(Cursor *cursor);
void spool_confirm_reads(Spool *spool);
void spool_fetched(Spool *spool, DiskJob *job); /* takes what the disk has read */
bool spool_has_fetched(const Spool *spool);
/* Forgets what it knows of the insides of a tier's segments, after some were renewed. */
void cursor_invalidate(Spool *spool, const Tier *tier);

/* spool-open.c */
#define POSITION_MAX (8 + 8 + 4 + RANGES_MAX * 16 + 4)
size_t position_encode(uint8_t out[static POSITION_MAX], uint64_t confirmed, const Ranges *islands);
int spool_open(Spool *spool, const char *runtime_directory, char **ret_error);
void spool_check_memory(Spool *spool);
void spool_take_recovery(Spool *spool, Recovery *recovery);
void spool_add_strays(Spool *spool, uint64_t messages);
