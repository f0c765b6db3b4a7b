/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which system calls a plugin has not: those that reach the network, other processes, programs, the kernel's
 * own settings. They fail with EPERM, so that a library that tries them for convenience goes on. Everything
 * else is the business of file permissions and Landlock. A filter of classic BPF, built here by hand: one
 * rule after the other, each of which denies or lets pass on to the next. Arguments are compared in the 32
 * bits that the kernel itself looks at.
 */

#include <asm/ioctls.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "worker.h"

#if defined(__x86_64__) && !defined(__ILP32__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#define X32_BIT 0x40000000U
#elif defined(__i386__)
#define OUR_ARCH AUDIT_ARCH_I386
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#elif defined(__arm__) && defined(__ARM_EABI__)
#define OUR_ARCH AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64
#define OUR_ARCH AUDIT_ARCH_RISCV64
#endif

#ifdef OUR_ARCH

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define LOW_HALF 4
#else
#define LOW_HALF 0
#endif

typedef enum RuleKind {
        DENIED,       /* always */
        UNKNOWN,      /* as if the kernel didn't have it, so that libc takes the older way */
        OF_SELF,      /* unless the argument is our own process */
        OF_SELF_OR_0, /* the same, where 0 means the caller */
        ONLY,         /* unless the argument is the value */
        NEVER,        /* if the argument is the value */
        NEEDS_BITS,   /* unless the argument has a bit of the value */
        NOT_BITS,     /* if the argument has the bits of the value, of those in the mask (0: of the value) */
} RuleKind;

typedef struct Rule {
        unsigned call;
        RuleKind kind;
        unsigned argument;
        uint32_t value, mask;
} Rule;

/* Newer than the C library's header, and the same number everywhere. */
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#endif
#ifndef SYS_removexattrat
#define SYS_removexattrat 466
#endif
#ifndef SYS_open_tree_attr
#define SYS_open_tree_attr 467
#endif
#ifndef SYS_file_setattr
#define SYS_file_setattr 469
#endif

#ifdef SYS_mmap2
#define SYS_MMAP SYS_mmap2
#else
#define SYS_MMAP SYS_mmap
#endif

#define DENY(name)                                                                                          \
        {                                                                                                   \
                .call = SYS_##name, .kind = DENIED                                                          \
        }

static const Rule rules[] = {
/* the network, and passing descriptors on */
#ifdef SYS_socketcall
        DENY(socketcall),
#endif
        DENY(socket),
        DENY(socketpair),
        DENY(bind),
        DENY(connect),
        DENY(listen),
#ifdef SYS_accept
        DENY(accept),
#endif
        DENY(accept4),
        DENY(sendto),
        DENY(sendmsg),
        DENY(sendmmsg),
        DENY(recvfrom),
        DENY(recvmsg),
        DENY(recvmmsg),
#ifdef SYS_recvmmsg_time64
        DENY(recvmmsg_time64),
#endif
        /* would do all of these on its behalf */
        DENY(io_uring_setup),
        DENY(io_uring_enter),
        DENY(io_uring_register),

        /* looking into other processes */
        DENY(ptrace),
        DENY(process_vm_readv),
        DENY(process_vm_writev),
        DENY(process_madvise),
#ifdef SYS_process_mrelease
        DENY(process_mrelease),
#endif
        DENY(pidfd_open),
        DENY(pidfd_getfd),
        DENY(kcmp),
        DENY(perf_event_open),
        DENY(userfaultfd),
        DENY(move_pages),
        DENY(migrate_pages),

        /* signals to others, also by way of SIGIO; and outliving the daemon */
        {.call = SYS_kill, .kind = OF_SELF},
        {.call = SYS_tgkill, .kind = OF_SELF},
        {.call = SYS_tkill, .kind = OF_SELF},
        {.call = SYS_rt_sigqueueinfo, .kind = OF_SELF},
        {.call = SYS_rt_tgsigqueueinfo, .kind = OF_SELF},
        DENY(pidfd_send_signal),
        {.call = SYS_fcntl, .kind = NEVER, .argument = 1, .value = F_SETOWN},
        {.call = SYS_fcntl, .kind = NEVER, .argument = 1, .value = F_SETOWN_EX},
        {.call = SYS_fcntl, .kind = NEVER, .argument = 1, .value = F_SETSIG},
#ifdef SYS_fcntl64
        {.call = SYS_fcntl64, .kind = NEVER, .argument = 1, .value = F_SETOWN},
        {.call = SYS_fcntl64, .kind = NEVER, .argument = 1, .value = F_SETOWN_EX},
        {.call = SYS_fcntl64, .kind = NEVER, .argument = 1, .value = F_SETSIG},
#endif
        {.call = SYS_ioctl, .kind = NEVER, .argument = 1, .value = FIOSETOWN},
        {.call = SYS_ioctl, .kind = NEVER, .argument = 1, .value = SIOCSPGRP},
        {.call = SYS_ioctl, .kind = NEVER, .argument = 1, .value = TIOCSTI},
        {.call = SYS_ioctl, .kind = NEVER, .argument = 1, .value = TIOCLINUX},
        {.call = SYS_prctl, .kind = NEVER, .argument = 0, .value = PR_SET_PDEATHSIG},

        /* making others wait for a file */
        {.call = SYS_fcntl, .kind = NEVER, .argument = 1, .value = F_SETLEASE},
#ifdef SYS_fcntl64
        {.call = SYS_fcntl64, .kind = NEVER, .argument = 1, .value = F_SETLEASE},
#endif

/* a device neither for reading nor for writing, but for ioctl(): older kernels' Landlock lets that pass */
#ifdef SYS_open
        {.call = SYS_open, .kind = NOT_BITS, .argument = 1, .value = O_WRONLY | O_RDWR},
        {.call = SYS_open,
                .kind = NOT_BITS,
                .argument = 1,
                .value = O_TRUNC,
                .mask = O_ACCMODE | O_TRUNC}, /* emptied by reading: the same */
#endif
        {.call = SYS_openat, .kind = NOT_BITS, .argument = 2, .value = O_WRONLY | O_RDWR},
        {.call = SYS_openat, .kind = NOT_BITS, .argument = 2, .value = O_TRUNC, .mask = O_ACCMODE | O_TRUNC},
        {.call = SYS_openat2, .kind = UNKNOWN}, /* its flags are in memory, where no filter sees them */

        /* who may open what, and when it was changed: Landlock leaves it alone, as older ones do truncate(),
         * and the daemon's files have the same owner */
        DENY(truncate),
#ifdef SYS_truncate64
        DENY(truncate64),
#endif
        DENY(utimensat),
#ifdef SYS_utimensat_time64
        DENY(utimensat_time64),
#endif
#ifdef SYS_futimesat
        DENY(futimesat),
#endif
#ifdef SYS_utimes
        DENY(utimes),
#endif
#ifdef SYS_utime
        DENY(utime),
#endif
        DENY(file_setattr),
#ifdef SYS_chmod
        DENY(chmod),
#endif
        DENY(fchmod),
        DENY(fchmodat),
        DENY(fchmodat2),
        DENY(setxattrat),
        DENY(removexattrat),
#ifdef SYS_chown
        DENY(chown),
        DENY(lchown),
#endif
#ifdef SYS_chown32
        DENY(chown32),
        DENY(fchown32),
        DENY(lchown32),
#endif
        DENY(fchown),
        DENY(fchownat),
        DENY(setxattr),
        DENY(lsetxattr),
        DENY(fsetxattr),
        DENY(removexattr),
        DENY(lremovexattr),
        DENY(fremovexattr),

/* memory and queues that are shared with others, and stay behind */
#ifdef SYS_ipc
        DENY(ipc),
#endif
#ifdef SYS_shmget
        DENY(shmget),
        DENY(shmat),
        DENY(shmctl),
        DENY(semget),
        DENY(semctl),
        DENY(msgget),
        DENY(msgctl),
#endif
        DENY(mq_open),
        DENY(mq_unlink),
        /* memory that no limit counts, and that outlives its process a little: out of memory, the kernel
         * would take others in the meantime */
        {.call = SYS_MMAP, .kind = NOT_BITS, .argument = 3, .value = MAP_SHARED | MAP_ANONYMOUS},
        DENY(memfd_create),
#ifdef SYS_memfd_secret
        DENY(memfd_secret),
#endif

        /* programs and processes; threads are fine */
        DENY(execve),
        DENY(execveat),
#ifdef SYS_fork
        DENY(fork),
#endif
#ifdef SYS_vfork
        DENY(vfork),
#endif
        {.call = SYS_clone, .kind = NEEDS_BITS, .argument = 0, .value = CLONE_THREAD},
        {.call = SYS_clone3, .kind = UNKNOWN}, /* its flags are in memory, where no filter sees them */

        /* limits and priorities of others */
        {.call = SYS_prlimit64, .kind = OF_SELF_OR_0},
        {.call = SYS_sched_setparam, .kind = OF_SELF_OR_0},
        {.call = SYS_sched_setscheduler, .kind = OF_SELF_OR_0},
        {.call = SYS_sched_setattr, .kind = OF_SELF_OR_0},
        {.call = SYS_sched_setaffinity, .kind = OF_SELF_OR_0},
        {.call = SYS_setpriority, .kind = ONLY, .argument = 0, .value = PRIO_PROCESS},
        {.call = SYS_setpriority, .kind = OF_SELF_OR_0, .argument = 1},
        {.call = SYS_ioprio_set, .kind = ONLY, .argument = 0, .value = 1 /* IOPRIO_WHO_PROCESS */},
        {.call = SYS_ioprio_set, .kind = OF_SELF_OR_0, .argument = 1},

        /* file systems and namespaces */
        DENY(mount),
        DENY(umount2),
#ifdef SYS_umount
        DENY(umount),
#endif
        DENY(pivot_root),
        DENY(chroot),
        DENY(move_mount),
        DENY(open_tree),
        DENY(open_tree_attr),
        DENY(fsopen),
        DENY(fsconfig),
        DENY(fsmount),
        DENY(fspick),
        DENY(mount_setattr),
        DENY(unshare),
        DENY(setns),
        DENY(name_to_handle_at),
        DENY(open_by_handle_at),
        DENY(fanotify_init),
        DENY(swapon),
        DENY(swapoff),
        DENY(acct),
        DENY(quotactl),
#ifdef SYS_quotactl_fd
        DENY(quotactl_fd),
#endif

        /* the kernel and the machine */
        DENY(bpf),
        DENY(init_module),
        DENY(finit_module),
        DENY(delete_module),
#ifdef SYS_kexec_load
        DENY(kexec_load),
#endif
#ifdef SYS_kexec_file_load
        DENY(kexec_file_load),
#endif
        DENY(reboot),
        DENY(syslog),
        DENY(vhangup),
        DENY(add_key),
        DENY(request_key),
        DENY(keyctl),
        DENY(settimeofday),
        DENY(clock_settime),
        DENY(clock_adjtime),
        DENY(adjtimex),
#ifdef SYS_clock_settime64
        DENY(clock_settime64),
#endif
#ifdef SYS_clock_adjtime64
        DENY(clock_adjtime64),
#endif
#ifdef SYS_stime
        DENY(stime),
#endif
        DENY(sethostname),
        DENY(setdomainname),
#ifdef SYS_iopl
        DENY(iopl),
#endif
#ifdef SYS_ioperm
        DENY(ioperm),
#endif
#ifdef SYS_modify_ldt
        DENY(modify_ldt),
#endif
#ifdef SYS_vm86
        DENY(vm86),
#endif
#ifdef SYS_vm86old
        DENY(vm86old),
#endif
};

#define RULE_STEPS_MAX 6

typedef struct Program {
        struct sock_filter steps[8 + ELEMENTSOF(rules) * RULE_STEPS_MAX];
        unsigned short n;
} Program;

static void add(Program *program, uint16_t code, uint32_t k, uint8_t if_true, uint8_t if_false)
{
        assert(program->n < ELEMENTSOF(program->steps));
        program->steps[program->n++] =
                (struct sock_filter){.code = code, .jt = if_true, .jf = if_false, .k = k};
}

static void add_load(Program *program, size_t offset)
{
        add(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t) offset, 0, 0);
}

static void add_return(Program *program, uint32_t action)
{
        add(program, BPF_RET | BPF_K, action, 0, 0);
}

static void add_denial(Program *program, int error)
{
        add_return(program, SECCOMP_RET_ERRNO | (uint32_t) error);
}

/* The number of the call is loaded before each rule, and again after it. */
static void add_rule(Program *program, const Rule *rule, uint32_t self)
{
        size_t argument = offsetof(struct seccomp_data, args) + rule->argument * sizeof(uint64_t) + LOW_HALF;
        unsigned short jump = program->n;

        add(program, BPF_JMP | BPF_JEQ | BPF_K, rule->call, 0, 0); /* else: set below */
        switch (rule->kind) {
        case DENIED:
        case UNKNOWN:
                add_denial(program, rule->kind == UNKNOWN ? ENOSYS : EPERM);
                program->steps[jump].jf = 1;
                return;
        case OF_SELF:
                add_load(program, argument);
                add(program, BPF_JMP | BPF_JEQ | BPF_K, self, 1, 0);
                break;
        case OF_SELF_OR_0:
                add_load(program, argument);
                add(program, BPF_JMP | BPF_JEQ | BPF_K, self, 2, 0);
                add(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
                break;
        case ONLY:
                add_load(program, argument);
                add(program, BPF_JMP | BPF_JEQ | BPF_K, rule->value, 1, 0);
                break;
        case NEVER:
                add_load(program, argument);
                add(program, BPF_JMP | BPF_JEQ | BPF_K, rule->value, 0, 1);
                break;
        case NEEDS_BITS:
                add_load(program, argument);
                add(program, BPF_JMP | BPF_JSET | BPF_K, rule->value, 1, 0);
                break;
        case NOT_BITS:
                add_load(program, argument);
                add(program, BPF_ALU | BPF_AND | BPF_K, rule->mask ? rule->mask : rule->value, 0, 0);
                add(program, BPF_JMP | BPF_JEQ | BPF_K, rule->value, 0, 1);
                break;
        }
        add_denial(program, EPERM);
        add_load(program, offsetof(struct seccomp_data, nr));
        program->steps[jump].jf = (uint8_t) (program->n - jump - 1);
}

int sandbox_seccomp(void)
{
        Program program = {.n = 0};
        struct sock_fprog filter = {.filter = program.steps};

        /* Numbers mean something else in another architecture's calls (32 bits on 64, x32): none of these.
         */
        add_load(&program, offsetof(struct seccomp_data, arch));
        add(&program, BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
        add_denial(&program, EPERM);
        add_load(&program, offsetof(struct seccomp_data, nr));
#ifdef X32_BIT
        add(&program, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
        add_denial(&program, EPERM);
#endif
        for (size_t i = 0; i < ELEMENTSOF(rules); i++)
                add_rule(&program, rules + i, (uint32_t) getpid());
        add_return(&program, SECCOMP_RET_ALLOW);

        filter.len = program.n;
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) < 0 ? -errno : 0;
}

#else

int sandbox_seccomp(void)
{
        return -ENOSYS;
}

#endif
