/* SPDX-License-Identifier: Apache-2.0 */

/* A hash table of the channels, and a list of them in the order of their updates. Each has one buffer for
 * all its text, which is used again as long as it fits. */

#include <stddef.h>
#include <string.h>

#include "latest.h"

#define BUCKETS 1024              /* a power of two */
#define WASTE_MAX ((size_t) 4096) /* a larger buffer that is hardly used is made smaller */

typedef struct Node {
        LatestEntry entry; /* first */
        struct Node *chain;
        struct Node *newer, *older;
        uint32_t hash;
        uint8_t boot[SAMPLE_BOOT_SIZE];
        char *text; /* channel, sensor and data, each with its NUL */
        size_t capacity;
} Node;

struct Latest {
        Node *buckets[BUCKETS];
        Node *newest, *oldest;
        size_t n;
        uint64_t bytes;
};

Latest *latest_new(void)
{
        return calloc(1, sizeof(Latest));
}

Latest *latest_free(Latest *latest)
{
        Node *node = latest ? latest->newest : NULL;

        while (node) {
                Node *older = node->older;

                free(node->text);
                free(node);
                node = older;
        }
        free(latest);
        return NULL;
}

static uint32_t hash_text(const char *text)
{
        uint32_t hash = 2166136261; /* FNV-1a */

        for (; *text; text++)
                hash = (hash ^ (uint8_t) *text) * 16777619;
        return hash;
}

static Node *find(const Latest *latest, const char *channel, uint32_t hash)
{
        Node *node = latest->buckets[hash % BUCKETS];

        while (node && (node->hash != hash || strcmp(node->entry.sample.channel, channel) != 0))
                node = node->chain;
        return node;
}

LatestEntry *latest_find(const Latest *latest, const char *channel)
{
        Node *node = find(latest, channel, hash_text(channel));

        return node ? &node->entry : NULL;
}

LatestEntry *latest_first(const Latest *latest)
{
        return latest->newest ? &latest->newest->entry : NULL;
}

LatestEntry *latest_next(const LatestEntry *entry)
{
        const Node *node = (const Node *) entry;

        return node->older ? &node->older->entry : NULL;
}

static void take_out(Latest *latest, Node *node)
{
        *(node->newer ? &node->newer->older : &latest->newest) = node->older;
        *(node->older ? &node->older->newer : &latest->oldest) = node->newer;
}

static void put_first(Latest *latest, Node *node)
{
        node->newer = NULL;
        node->older = latest->newest;
        *(latest->newest ? &latest->newest->newer : &latest->oldest) = node;
        latest->newest = node;
}

static void forget(Latest *latest, Node *node)
{
        Node **link = &latest->buckets[node->hash % BUCKETS];

        while (*link != node)
                link = &(*link)->chain;
        *link = node->chain;
        take_out(latest, node);
        latest->n--;
        latest->bytes -= sizeof(*node) + node->capacity;
        free(node->text);
        free(node);
}

static Node *add(Latest *latest, uint32_t hash)
{
        Node *node = calloc(1, sizeof(*node));

        if (!node)
                return NULL;
        node->hash = hash;
        node->chain = latest->buckets[hash % BUCKETS];
        latest->buckets[hash % BUCKETS] = node;
        put_first(latest, node);
        latest->n++;
        latest->bytes += sizeof(*node);
        return node;
}

static bool make_room(Latest *latest, Node *node, size_t size)
{
        char *text;

        if (size <= node->capacity && (node->capacity <= WASTE_MAX || size > node->capacity / 4))
                return true;
        size = (size + 63) & ~(size_t) 63;
        text = realloc(node->text, size);
        if (!text)
                return false;
        latest->bytes += size;
        latest->bytes -= node->capacity;
        node->text = text;
        node->capacity = size;
        return true;
}

static char *put_text(char *out, const char *text, size_t size)
{
        memcpy(out, text, size);
        out[size] = '\0';
        return out + size + 1;
}

void latest_note(Latest *latest, uint64_t sequence, const Sample *sample)
{
        uint32_t hash = hash_text(sample->channel);
        size_t channel_size = strlen(sample->channel), sensor_size = strlen(sample->sensor);
        Node *node = find(latest, sample->channel, hash);
        char *p;

        if (!node)
                node = add(latest, hash);
        else if (node != latest->newest) {
                take_out(latest, node);
                put_first(latest, node);
        }
        if (!node)
                return;
        if (!make_room(latest, node, channel_size + sensor_size + sample->data_size + 3)) {
                forget(latest, node);
                return;
        }
        node->entry.sequence = sequence;
        node->entry.sample = *sample;
        node->entry.sample.channel = node->text;
        p = put_text(node->text, sample->channel, channel_size);
        node->entry.sample.sensor = p;
        p = put_text(p, sample->sensor, sensor_size);
        node->entry.sample.data = p;
        put_text(p, sample->data, sample->data_size);
        if (sample->boot) {
                memcpy(node->boot, sample->boot, sizeof(node->boot));
                node->entry.sample.boot = node->boot;
        }
        while ((latest->n > LATEST_CHANNELS_MAX || latest->bytes > LATEST_BYTES_MAX) &&
                latest->oldest != node)
                forget(latest, latest->oldest);
}
