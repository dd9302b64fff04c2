// Collectives of c10d, libtorch's distributed engine: stores that processes meet at, and groups over Gloo, with NCCL for the
// tensors of CUDA devices. The only file of this module that sees c10d's headers, which take twenty seconds to compile.

#define USE_C10D_GLOO

#include <arpa/inet.h>
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "handle.h"

using onebit::guarded;
using onebit::guarded_effect;

struct lt_store {
    c10::intrusive_ptr<c10d::Store> value;
    int port = 0;
};

struct lt_group {
    /// Gloo, for tensors in host memory.
    c10::intrusive_ptr<c10d::Backend> host;
    /// NCCL, for those of CUDA devices; none where nothing computes there.
    c10::intrusive_ptr<c10d::Backend> device;

    const c10::intrusive_ptr<c10d::Backend> &of(const at::Tensor &tensor) const {
        TORCH_CHECK(tensor.is_cpu() || device, "the group has no collectives for ", tensor.device());
        return tensor.is_cpu() ? host : device;
    }
};

struct lt_work {
    c10::intrusive_ptr<c10d::Work> value;
    /// Keeps what is read and written alive until the work is done.
    std::vector<at::Tensor> tensors;
};

namespace {

thread_local lt_group_failure last_failure = LT_GROUP_FAILED;

/// libtorch 2.11's flight recorder, which keeps the last collectives for a debugger, inserts into a map of the process before it
/// takes its lock (FlightRecorderDetail.hpp, recordWithResetEnabled): ranks that are threads of one process, as in tests, destroy
/// the heap. With a size of 0 it does nothing. It asks for that when it is made; before `main` no other thread reads the environment.
[[maybe_unused]] const int without_flight_recorder = setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/0);

/// c10d's and Gloo's exceptions come as text across the library's border; the words are theirs.
lt_group_failure classify(const std::string &message) {
    auto has = [&](const char *word) { return message.find(word) != std::string::npos; };
    if (has("EADDRINUSE") || has("address already in use") || has("Address already in use")) return LT_GROUP_IN_USE;
    if (has("imed out") || has("imeout")) return LT_GROUP_TIMED_OUT;
    if (has("peer") || has("onnection") || has("ocket") || has("roken pipe")) return LT_GROUP_PEER_LOST;
    return LT_GROUP_FAILED;
}

template <typename Result, typename Body>
Result classified(Result failure, Body &&body) {
    return guarded(failure, [&]() -> Result {
        try {
            return body();
        } catch (const c10::Error &error) {
            last_failure = classify(error.what_without_backtrace());
            throw;
        } catch (const std::exception &error) {
            last_failure = classify(error.what());
            throw;
        }
    });
}

template <typename Start>
lt_work *started(std::vector<at::Tensor> tensors, Start &&start) {
    return classified(static_cast<lt_work *>(nullptr), [&] {
        c10::NoGradGuard unrecorded;
        return new lt_work{start(), std::move(tensors)};
    });
}

}  // namespace

lt_group_failure lt_last_group_failure(void) { return last_failure; }

// MARK: Stores

lt_store *lt_store_tcp(const char *host, int port, bool serves, int milliseconds) {
    return classified(static_cast<lt_store *>(nullptr), [&] {
        c10d::TCPStoreOptions options;
        options.port = static_cast<std::uint16_t>(port);
        options.isServer = serves;
        options.waitWorkers = false;  // who is missing is asked key by key, so that the wait can be cancelled
        options.timeout = std::chrono::milliseconds(milliseconds);
        auto store = c10::make_intrusive<c10d::TCPStore>(host, options);
        return new lt_store{store, store->getPort()};
    });
}

lt_store *lt_store_file(const char *path, int size) {
    return classified(static_cast<lt_store *>(nullptr),
                      [&] { return new lt_store{c10::make_intrusive<c10d::FileStore>(path, size)}; });
}

lt_store *lt_store_memory(void) {
    return classified(static_cast<lt_store *>(nullptr),
                      [&] { return new lt_store{c10::make_intrusive<c10d::HashStore>()}; });
}

lt_store *lt_store_clone(const lt_store *store) {
    return classified(static_cast<lt_store *>(nullptr), [&] {
        // A store in memory is shared; the others' copies have a connection or descriptor of their own.
        bool shared = dynamic_cast<c10d::HashStore *>(store->value.get()) != nullptr;
        return new lt_store{shared ? store->value : store->value->clone(), store->port};
    });
}

void lt_store_release(lt_store *store) { delete store; }

int lt_store_port(const lt_store *store) { return store->port; }

int lt_store_set(const lt_store *store, const char *key, const void *bytes, size_t count) {
    return classified(-1, [&] {
        const auto *first = static_cast<const uint8_t *>(bytes);
        store->value->set(key, std::vector<uint8_t>(first, first + count));
        return 0;
    });
}

int lt_store_has(const lt_store *store, const char *key) {
    return classified(-1, [&] { return store->value->check({key}) ? 1 : 0; });
}

int64_t lt_store_get(const lt_store *store, const char *key, void *bytes, size_t capacity) {
    return classified(int64_t{-1}, [&] {
        std::vector<uint8_t> value = store->value->get(key);
        std::memcpy(bytes, value.data(), std::min(capacity, value.size()));
        return static_cast<int64_t>(value.size());
    });
}

int lt_store_add(const lt_store *store, const char *key, int64_t amount, int64_t *result) {
    return classified(-1, [&] {
        *result = store->value->add(key, amount);
        return 0;
    });
}

int lt_reach(const char *host, int port, int milliseconds) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo *addresses = nullptr;
    if (getaddrinfo(host, std::to_string(port).c_str(), &hints, &addresses) != 0) return -1;
    bool reached = false;
    for (addrinfo *address = addresses; address && !reached; address = address->ai_next) {
        int end = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (end < 0) continue;
        reached = connect(end, address->ai_addr, address->ai_addrlen) == 0;
        if (!reached && errno == EINPROGRESS) {
            pollfd waiting{end, POLLOUT, 0};
            int error = 0;
            socklen_t length = sizeof error;
            reached = poll(&waiting, 1, milliseconds) == 1 &&
                      getsockopt(end, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
        }
        close(end);
    }
    freeaddrinfo(addresses);
    return reached ? 1 : 0;
}

// MARK: Groups

lt_group *lt_group_gloo(const lt_store *store, const char *prefix, const char *host, const char *interface, int rank,
                        int size, int milliseconds) {
    return classified(static_cast<lt_group *>(nullptr), [&] {
        auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::milliseconds(milliseconds));
        options->devices.push_back(interface ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                                   : host    ? c10d::ProcessGroupGloo::createDeviceForHostname(host)
                                             : c10d::ProcessGroupGloo::createDefaultDevice());
        auto prefixed = c10::make_intrusive<c10d::PrefixStore>(prefix, store->value);
        prefixed->setTimeout(std::chrono::milliseconds(milliseconds));
        c10::intrusive_ptr<c10d::Store> place = prefixed;
        return new lt_group{c10::make_intrusive<c10d::ProcessGroupGloo>(place, rank, size, options), {}};
    });
}

int lt_group_add_nccl(lt_group *group, const lt_store *store, const char *prefix, int rank, int size,
                      int milliseconds) {
    return classified(-1, [&] {
        onebit_nccl_backend_function *make = onebit::find_nccl_backend();
        auto place = c10::make_intrusive<c10d::PrefixStore>(prefix, store->value);
        place->setTimeout(std::chrono::milliseconds(milliseconds));
        char error[1024] = "";
        void *backend = make(place.get(), rank, size, milliseconds, error, sizeof error);
        if (!backend) throw std::runtime_error(error);
        group->device = c10::intrusive_ptr<c10d::Backend>::reclaim(static_cast<c10d::Backend *>(backend));
        return 0;
    });
}

void lt_group_release(lt_group *group) { delete group; }

lt_work *lt_start_all_reduce(const lt_group *group, lt_tensor *tensor) {
    std::vector<at::Tensor> tensors{tensor->value};
    return started(tensors, [&] { return group->of(tensors[0])->allreduce(tensors); });
}

lt_work *lt_start_all_gather(const lt_group *group, lt_tensor *whole, const lt_tensor *part) {
    at::Tensor output = whole->value.view(-1), input = part->value.contiguous().view(-1);
    return started({output, input}, [&] { return group->of(output)->_allgather_base(output, input); });
}

lt_work *lt_start_exchange(const lt_group *group, lt_tensor *received, const lt_tensor *sent) {
    at::Tensor output = received->value, input = sent->value.contiguous();
    return started({output, input}, [&] {
        std::vector<int64_t> equal;
        return group->of(output)->alltoall_base(output, input, equal, equal);
    });
}

lt_work *lt_start_broadcast(const lt_group *group, lt_tensor *tensor, int root) {
    std::vector<at::Tensor> tensors{tensor->value};
    return started(tensors, [&] {
        c10d::BroadcastOptions options;
        options.rootRank = root;
        return group->of(tensors[0])->broadcast(tensors, options);
    });
}

int lt_work_wait(lt_work *work, int milliseconds) {
    return classified(-1, [&] {
        if (!work->tensors[0].is_cpu()) {
            // NCCL's own wait only holds the stream, and one with a limit ends the group: it is asked for instead, so that
            // this rank sees cancellations and lost ranks meanwhile.
            auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
            while (!work->value->isCompleted()) {
                if (std::chrono::steady_clock::now() > deadline) return 0;
                std::this_thread::sleep_for(std::chrono::microseconds(200));
            }
            if (work->value->exception()) std::rethrow_exception(work->value->exception());
            work->value->wait();
            return 1;
        }
        try {
            work->value->wait(std::chrono::milliseconds(milliseconds));
        } catch (const c10::Error &) {
            if (!work->value->isCompleted()) return 0;
            throw;
        }
        return 1;
    });
}

void lt_work_release(lt_work *work) { delete work; }
