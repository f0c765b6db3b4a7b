/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An I2C bus of our own making, for the lab: /dev/i2c-N as a character device in user space (CUSE), with
 * chips that are 256 registers each, and faults on demand. Needs root and the module cuse.
 *
 *     cuse-i2c BUS SOCKET 0x76=FILE…            serves until it is killed; prints "ready" when it does
 *     cuse-i2c --tell SOCKET COMMAND [WORD…]    returns when the command is in force for what begins then
 *
 * FILE has up to 256 bytes in hex, with white space anywhere; # to the line's end is a comment. Commands:
 *
 *     none                          no fault (there is one at a time)
 *     no-answer                     nobody acknowledges: ENXIO
 *     short                         reads bring less than was asked for
 *     stuck                         each transfer takes the bus's timeout, and fails: ETIMEDOUT
 *     error                         EIO
 *     delay MSEC                    each takes so long, and is good
 *     smbus, combined               no combined transfers from now on, and again
 *     reset                         all registers as in the files, as after a loss of power
 *     set ADDRESS REGISTER VALUE    one register, as if the chip had
 */

#define FUSE_USE_VERSION 31

#include <cuse_lowlevel.h>
#include <errno.h>
#include <fuse_opt.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHIPS_MAX 8
#define MESSAGES_MAX I2C_RDWR_IOCTL_MAX_MSGS
#define REGISTERS 256

typedef enum Fault {
        NONE,
        NO_ANSWER,
        SHORT,
        STUCK,
        ERROR,
        DELAY,
} Fault;

static const char *const fault_names[] = {"none", "no-answer", "short", "stuck", "error", "delay"};

typedef struct Chip {
        unsigned long address;
        uint8_t image[REGISTERS], registers[REGISTERS], pointer;
} Chip;

static struct {
        pthread_mutex_t lock; /* the control's thread writes what is below it */
        Chip chips[CHIPS_MAX];
        size_t n_chips;
        Fault fault;
        unsigned long delay_msec;
        bool smbus_only;

        unsigned long timeout_msec; /* of the device's thread alone */
        int control;
} bus = {.lock = PTHREAD_MUTEX_INITIALIZER, .timeout_msec = 1000, .control = -1};

/* --- chips -------------------------------------------------------------------------------------------- */

static Chip *find(unsigned long address)
{
        for (size_t i = 0; i < bus.n_chips; i++)
                if (bus.chips[i].address == address)
                        return bus.chips + i;
        return NULL;
}

static bool load(Chip *chip, const char *path)
{
        FILE *file = fopen(path, "re");
        char line[1024];
        size_t n = 0;

        if (!file)
                return false;
        while (fgets(line, sizeof(line), file)) {
                line[strcspn(line, "#\n")] = '\0';
                for (char *rest = line, *word; (word = strsep(&rest, " \t"));) {
                        char *end;
                        unsigned long value = strtoul(word, &end, 16);

                        if (*word == '\0')
                                continue;
                        if (*end || value > 0xff || n == REGISTERS) {
                                fclose(file);
                                errno = EINVAL;
                                return false;
                        }
                        chip->image[n++] = (uint8_t) value;
                }
        }
        fclose(file);
        memcpy(chip->registers, chip->image, REGISTERS);
        return true;
}

/* "0x76=FILE" */
static bool add_chip(const char *text)
{
        Chip *chip = bus.chips + bus.n_chips;
        char *end;

        if (bus.n_chips == CHIPS_MAX)
                return false;
        chip->address = strtoul(text, &end, 0);
        if (*end != '=' || chip->address > 0x7f)
                return false;
        if (!load(chip, end + 1)) {
                fprintf(stderr, "cuse-i2c: cannot read %s: %s\n", end + 1, strerror(errno));
                return false;
        }
        bus.n_chips++;
        return true;
}

static void sleep_msec(unsigned long msec)
{
        struct timespec rest = {.tv_sec = (time_t) (msec / 1000), .tv_nsec = (long) (msec % 1000) * 1000000};

        while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
                ;
}

/* What a transfer meets: the fault in force, how long it takes, and an errno value or 0. */
static Fault meet(int *ret_error)
{
        static const int errors[] = {[NO_ANSWER] = ENXIO, [STUCK] = ETIMEDOUT, [ERROR] = EIO, [DELAY] = 0};
        unsigned long msec;
        Fault fault;

        pthread_mutex_lock(&bus.lock);
        fault = bus.fault;
        msec = fault == DELAY ? bus.delay_msec : fault == STUCK ? bus.timeout_msec : 0;
        pthread_mutex_unlock(&bus.lock);
        sleep_msec(msec);
        *ret_error = errors[fault];
        return fault;
}

/* --- the device --------------------------------------------------------------------------------------- */

/* What the kernel has copied in, and how much it would copy out: it asks again with more until it is enough.
 */
typedef struct Request {
        fuse_req_t req;
        const uint8_t *in;
        size_t in_size, out_size;
        struct iovec in_iov[MESSAGES_MAX + 2], out_iov[MESSAGES_MAX];
        size_t n_in, n_out;
} Request;

static size_t total(const struct iovec *iov, size_t n)
{
        size_t size = 0;

        for (size_t i = 0; i < n; i++)
                size += iov[i].iov_len;
        return size;
}

static void want_in(Request *request, const void *at, size_t size)
{
        request->in_iov[request->n_in++] = (struct iovec){.iov_base = (void *) at, .iov_len = size};
}

static void want_out(Request *request, const void *at, size_t size)
{
        request->out_iov[request->n_out++] = (struct iovec){.iov_base = (void *) at, .iov_len = size};
}

/* Is everything here? If not, it is asked for, and this round is over. */
static bool complete(Request *request)
{
        if (request->in_size >= total(request->in_iov, request->n_in) &&
                request->out_size >= total(request->out_iov, request->n_out))
                return true;
        fuse_reply_ioctl_retry(request->req, request->n_in ? request->in_iov : NULL, request->n_in,
                request->n_out ? request->out_iov : NULL, request->n_out);
        return false;
}

static void on_functions(Request *request, void *arg)
{
        unsigned long functions = I2C_FUNC_SMBUS_BYTE | I2C_FUNC_SMBUS_BYTE_DATA | I2C_FUNC_SMBUS_WORD_DATA |
                                  I2C_FUNC_SMBUS_I2C_BLOCK | I2C_FUNC_SMBUS_QUICK;

        want_out(request, arg, sizeof(functions));
        if (!complete(request))
                return;
        pthread_mutex_lock(&bus.lock);
        functions |= bus.smbus_only ? 0 : I2C_FUNC_I2C;
        pthread_mutex_unlock(&bus.lock);
        fuse_reply_ioctl(request->req, 0, &functions, sizeof(functions));
}

/* How many bytes of the data a transfer has; 0 is none, negative is one that is not known. */
static int smbus_size(const struct i2c_smbus_ioctl_data *all, const union i2c_smbus_data *data)
{
        switch (all->size) {
        case I2C_SMBUS_QUICK:
                return 0;
        case I2C_SMBUS_BYTE:
        case I2C_SMBUS_BYTE_DATA:
                return 1;
        case I2C_SMBUS_WORD_DATA:
                return 2;
        case I2C_SMBUS_I2C_BLOCK_DATA:
                return data->block[0] >= 1 && data->block[0] <= I2C_SMBUS_BLOCK_MAX ? data->block[0] : -1;
        default:
                return -1;
        }
}

/* The registers are bytes in a row: of a word the low one comes first, in memory as on the bus. */
static void smbus_move(Chip *chip, const struct i2c_smbus_ioctl_data *all, union i2c_smbus_data *data, int n)
{
        uint8_t *bytes = all->size == I2C_SMBUS_I2C_BLOCK_DATA ? data->block + 1 : data->block;
        bool registers = all->size != I2C_SMBUS_BYTE;

        if (all->size == I2C_SMBUS_QUICK)
                return;
        if (registers || all->read_write == I2C_SMBUS_WRITE)
                chip->pointer = all->command;
        if (!registers && all->read_write == I2C_SMBUS_WRITE)
                return;
        for (int i = 0; i < n; i++)
                if (all->read_write == I2C_SMBUS_READ)
                        bytes[i] = chip->registers[chip->pointer++];
                else
                        chip->registers[chip->pointer++] = bytes[i];
}

static void on_smbus(Request *request, void *arg, unsigned long address)
{
        struct i2c_smbus_ioctl_data all;
        union i2c_smbus_data data = {.block = {0}};
        int error, n;
        Fault fault;
        Chip *chip;

        want_in(request, arg, sizeof(all));
        if (request->in_size < sizeof(all)) {
                (void) complete(request);
                return;
        }
        memcpy(&all, request->in, sizeof(all));
        if (all.data) {
                want_in(request, all.data, sizeof(data));
                if (all.read_write == I2C_SMBUS_READ)
                        want_out(request, all.data, sizeof(data));
        }
        if (!complete(request))
                return;
        if (all.data)
                memcpy(&data, request->in + sizeof(all), sizeof(data));
        n = smbus_size(&all, &data);
        fault = meet(&error);

        pthread_mutex_lock(&bus.lock);
        chip = find(address);
        if (n < 0)
                error = EINVAL;
        else if (!error && !chip)
                error = ENXIO;
        if (!error) {
                if (fault == SHORT && all.size == I2C_SMBUS_I2C_BLOCK_DATA &&
                        all.read_write == I2C_SMBUS_READ)
                        data.block[0] = (uint8_t) --n;
                smbus_move(chip, &all, &data, n);
        }
        pthread_mutex_unlock(&bus.lock);
        if (error)
                fuse_reply_err(request->req, error);
        else
                fuse_reply_ioctl(request->req, 0, &data, total(request->out_iov, request->n_out));
}

/* Messages one after another; what is written comes behind them in `in`, what is read goes into `out`. */
static int combined_move(
        const struct i2c_msg *messages, size_t n, const uint8_t *in, uint8_t *out, bool shorter)
{
        for (size_t i = 0; i < n; i++) {
                Chip *chip = find(messages[i].addr);
                bool read = messages[i].flags & I2C_M_RD;

                if (!chip)
                        return -ENXIO;
                if (read && shorter)
                        return (int) i;
                for (uint16_t j = 0; j < messages[i].len; j++) {
                        if (read)
                                *out++ = chip->registers[chip->pointer++];
                        else if (j == 0)
                                chip->pointer = *in++;
                        else
                                chip->registers[chip->pointer++] = *in++;
                }
        }
        return (int) n;
}

static void on_combined(Request *request, void *arg)
{
        struct i2c_msg messages[MESSAGES_MAX];
        struct i2c_rdwr_ioctl_data all;
        size_t size = sizeof(all);
        bool refused;
        uint8_t *out;
        Fault fault;
        int error, r;

        want_in(request, arg, sizeof(all));
        if (request->in_size < size) {
                (void) complete(request);
                return;
        }
        memcpy(&all, request->in, size);
        pthread_mutex_lock(&bus.lock);
        refused = bus.smbus_only;
        pthread_mutex_unlock(&bus.lock);
        if (refused || all.nmsgs == 0 || all.nmsgs > MESSAGES_MAX) {
                fuse_reply_err(request->req, refused ? EOPNOTSUPP : EINVAL);
                return;
        }
        want_in(request, all.msgs, all.nmsgs * sizeof(messages[0]));
        size += all.nmsgs * sizeof(messages[0]);
        if (request->in_size < size) {
                (void) complete(request);
                return;
        }
        memcpy(messages, request->in + sizeof(all), all.nmsgs * sizeof(messages[0]));
        for (uint32_t i = 0; i < all.nmsgs; i++)
                if (messages[i].flags & I2C_M_RD)
                        want_out(request, messages[i].buf, messages[i].len);
                else
                        want_in(request, messages[i].buf, messages[i].len);
        if (!complete(request))
                return;
        out = calloc(1, total(request->out_iov, request->n_out) + 1);
        fault = meet(&error);
        if (!out)
                error = ENOMEM;
        if (error) {
                fuse_reply_err(request->req, error);
        } else {
                pthread_mutex_lock(&bus.lock);
                r = combined_move(messages, all.nmsgs, request->in + size, out, fault == SHORT);
                pthread_mutex_unlock(&bus.lock);
                if (r < 0)
                        fuse_reply_err(request->req, -r);
                else
                        fuse_reply_ioctl(request->req, r, out, total(request->out_iov, request->n_out));
        }
        free(out);
}

/* Each that opens the device has an address of its own: the kernel keeps what open() says. */
static void on_open(fuse_req_t req, struct fuse_file_info *fi)
{
        unsigned long *address = calloc(1, sizeof(*address));

        if (!address) {
                fuse_reply_err(req, ENOMEM);
                return;
        }
        fi->fh = (uintptr_t) address;
        if (fuse_reply_open(req, fi) < 0)
                free(address);
}

static void on_release(fuse_req_t req, struct fuse_file_info *fi)
{
        free((void *) (uintptr_t) fi->fh);
        fuse_reply_err(req, 0);
}

static void on_ioctl(fuse_req_t req, int cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
        const void *in_buf, size_t in_bufsz, size_t out_bufsz)
{
        Request request = {.req = req, .in = in_buf, .in_size = in_bufsz, .out_size = out_bufsz};
        unsigned long number = (unsigned long) (uintptr_t) arg, *address = (void *) (uintptr_t) fi->fh;

        if (flags & FUSE_IOCTL_COMPAT) {
                fuse_reply_err(req, ENOSYS);
                return;
        }
        switch ((unsigned) cmd) {
        case I2C_FUNCS:
                on_functions(&request, arg);
                return;
        case I2C_SMBUS:
                on_smbus(&request, arg, *address);
                return;
        case I2C_RDWR:
                on_combined(&request, arg);
                return;
        case I2C_SLAVE:
        case I2C_SLAVE_FORCE:
                *address = number;
                break;
        case I2C_TIMEOUT:
                bus.timeout_msec = number * 10;
                break;
        case I2C_RETRIES:
                break;
        default:
                fuse_reply_err(req, ENOTTY);
                return;
        }
        fuse_reply_ioctl(req, 0, NULL, 0);
}

/* --- commands ----------------------------------------------------------------------------------------- */

static bool number(const char *text, unsigned long max, unsigned long *ret)
{
        char *end;

        if (!text || !*text)
                return false;
        *ret = strtoul(text, &end, 0);
        return *end == '\0' && *ret <= max;
}

static bool set_register(char *rest)
{
        const char *words[3] = {strsep(&rest, " "), strsep(&rest, " "), strsep(&rest, " ")};
        unsigned long address, reg, value;
        Chip *chip;

        if (!number(words[0], 0x7f, &address) || !number(words[1], 0xff, &reg) ||
                !number(words[2], 0xff, &value))
                return false;
        chip = find(address);
        if (chip)
                chip->registers[reg] = (uint8_t) value;
        return chip != NULL;
}

/* With the lock held. */
static bool obey(char *command)
{
        char *rest = command;
        const char *word = strsep(&rest, " ");

        if (strcmp(word, "set") == 0)
                return set_register(rest);
        if (strcmp(word, "smbus") == 0 || strcmp(word, "combined") == 0) {
                bus.smbus_only = word[0] == 's';
                return true;
        }
        if (strcmp(word, "reset") == 0) {
                for (size_t i = 0; i < bus.n_chips; i++)
                        memcpy(bus.chips[i].registers, bus.chips[i].image, REGISTERS);
                return true;
        }
        for (unsigned i = 0; i < sizeof(fault_names) / sizeof(fault_names[0]); i++)
                if (strcmp(word, fault_names[i]) == 0) {
                        if (i == DELAY && !number(rest, 600000, &bus.delay_msec))
                                return false;
                        bus.fault = (Fault) i;
                        return true;
                }
        return false;
}

/* One command a connection; its answer is "ok" or "?", when it is in force. */
static void *control(void *unused)
{
        for (;;) {
                int fd = accept4(bus.control, NULL, NULL, SOCK_CLOEXEC);
                char command[256];
                const char *answer;
                ssize_t n;

                if (fd < 0)
                        return unused;
                n = recv(fd, command, sizeof(command) - 1, 0);
                if (n > 0) {
                        command[n] = '\0';
                        pthread_mutex_lock(&bus.lock);
                        answer = obey(command) ? "ok" : "?";
                        pthread_mutex_unlock(&bus.lock);
                        (void) !send(fd, answer, strlen(answer), MSG_NOSIGNAL);
                }
                close(fd);
        }
}

static int connect_or_listen(const char *path, bool listening)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
                return -1;
        strcpy(address.sun_path, path);
        if (listening) {
                (void) unlink(path);
                if (bind(fd, (struct sockaddr *) &address, sizeof(address)) == 0 && listen(fd, 8) == 0)
                        return fd;
        } else if (connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0) {
                return fd;
        }
        fprintf(stderr, "cuse-i2c: %s: %s\n", path, strerror(errno));
        close(fd);
        return -1;
}

static int tell(const char *path, char **words, int n_words)
{
        int fd = connect_or_listen(path, false);
        char command[256] = "", answer[8];
        ssize_t n;

        if (fd < 0)
                return EXIT_FAILURE;
        for (int i = 0; i < n_words; i++) {
                size_t used = strlen(command);

                snprintf(command + used, sizeof(command) - used, "%s%s", i > 0 ? " " : "", words[i]);
        }
        (void) !send(fd, command, strlen(command), MSG_NOSIGNAL);
        n = recv(fd, answer, sizeof(answer), 0);
        close(fd);
        if (n == 2 && memcmp(answer, "ok", 2) == 0)
                return EXIT_SUCCESS;
        fprintf(stderr, "cuse-i2c: \"%s\" was not understood\n", command);
        return EXIT_FAILURE;
}

/* --- start -------------------------------------------------------------------------------------------- */

static void on_ready(void *userdata)
{
        pthread_t thread;

        (void) userdata;
        if (pthread_create(&thread, NULL, control, NULL) != 0)
                _exit(EXIT_FAILURE);
        (void) pthread_detach(thread);
        puts("ready");
        fflush(stdout);
}

static const struct cuse_lowlevel_ops operations = {
        .init_done = on_ready, .open = on_open, .release = on_release, .ioctl = on_ioctl};

int main(int argc, char **argv)
{
        static char program[] = "cuse-i2c", foreground[] = "-f", single[] = "-s";
        char *arguments[] = {program, foreground, single, NULL}, name[64];
        const char *const device[] = {name};
        const struct cuse_info info = {.dev_info_argc = 1,
                .dev_info_argv = (const char **) device,
                .flags = CUSE_UNRESTRICTED_IOCTL};
        unsigned long n;

        if (argc >= 4 && strcmp(argv[1], "--tell") == 0)
                return tell(argv[2], argv + 3, argc - 3);
        if (argc < 4 || !number(argv[1], 1048575, &n)) {
                fputs("Usage: cuse-i2c BUS SOCKET ADDRESS=FILE…\n"
                      "       cuse-i2c --tell SOCKET COMMAND…\n",
                        stderr);
                return 2;
        }
        for (int i = 3; i < argc; i++)
                if (!add_chip(argv[i])) {
                        fprintf(stderr, "cuse-i2c: \"%s\" is no ADDRESS=FILE\n", argv[i]);
                        return 2;
                }
        snprintf(name, sizeof(name), "DEVNAME=i2c-%lu", n);
        bus.control = connect_or_listen(argv[2], true);
        if (bus.control < 0)
                return EXIT_FAILURE;
        return cuse_lowlevel_main(3, arguments, &info, &operations, NULL);
}
