// ThreadSanitizer does not see what Swift's Mutex does where a thread has to wait (FUTEX_LOCK_PI): that part is compiled into
// libswiftSynchronization, which is not instrumented, and so every contended lock would be reported as a race. Preloaded, this
// library calls those functions and says that what the mutex guards is handed over. x86-64: swiftcall has `self` in r13.
#define _GNU_SOURCE
#include <dlfcn.h>

#define LOCK_SLOW "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"  // _MutexHandle._lockSlow(UInt32)
#define UNLOCK_SLOW "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"      // _MutexHandle._unlockSlow()

void *onebit_lock_slow, *onebit_unlock_slow;

__attribute__((constructor)) static void find(void) {
    onebit_lock_slow = dlsym(RTLD_NEXT, LOCK_SLOW);
    onebit_unlock_slow = dlsym(RTLD_NEXT, UNLOCK_SLOW);
}

__asm__(".globl \"" LOCK_SLOW "\"\n"
        ".type \"" LOCK_SLOW "\", @function\n"
        "\"" LOCK_SLOW "\":\n"
        "  push %r13\n"
        "  mov onebit_lock_slow@GOTPCREL(%rip), %rax\n"
        "  call *(%rax)\n"
        "  mov (%rsp), %rdi\n"
        "  call __tsan_acquire@PLT\n"
        "  pop %r13\n"
        "  ret\n"
        ".globl \"" UNLOCK_SLOW "\"\n"
        ".type \"" UNLOCK_SLOW "\", @function\n"
        "\"" UNLOCK_SLOW "\":\n"
        "  push %r13\n"
        "  mov %r13, %rdi\n"
        "  call __tsan_release@PLT\n"
        "  mov (%rsp), %r13\n"
        "  mov onebit_unlock_slow@GOTPCREL(%rip), %rax\n"
        "  call *(%rax)\n"
        "  pop %r13\n"
        "  ret\n");
