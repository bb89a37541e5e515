// Answers the cpuid instructions that benchmarks.masked_cpu replaced by ud2 as the processor does,
// without the features of leaf 7 whose bits are set in MASK_7_EBX, MASK_7_ECX, MASK_7_EDX and
// MASK_71_EAX.
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

static unsigned mask_ebx, mask_ecx, mask_edx, mask_eax;

static unsigned mask(const char *name) {
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 16) : 0;
}

static void answer(int signal_number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *at = (const unsigned char *)registers[REG_RIP];
    (void)info;
    if (at[0] != 0x0f || at[1] != 0x0b) {
        signal(signal_number, SIG_DFL);
        return;
    }
    unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) {
        b &= ~mask_ebx;
        c &= ~mask_ecx;
        d &= ~mask_edx;
    } else if (leaf == 7 && part == 1) {
        a &= ~mask_eax;
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void start(void) {
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    mask_ebx = mask("MASK_7_EBX");
    mask_ecx = mask("MASK_7_ECX");
    mask_edx = mask("MASK_7_EDX");
    mask_eax = mask("MASK_71_EAX");
    sigaction(SIGILL, &action, NULL);
}
