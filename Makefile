# The commands of the project. TRAINING=0 leaves out everything that needs libtorch: nothing is downloaded, and the
# command line runs, evaluates and inspects packed models.
TRAINING ?= 1
export ONEBIT_TRAINING := $(TRAINING)

SWIFT ?= swift

# A build folder for each choice: SwiftPM would rebuild everything when the choice changes.
ifeq ($(TRAINING),1)
BUILD := .build
else
BUILD := .build-runtime
endif

LIBRARIES := JSON TensorFiles ModelFiles ModelDescription Jinja Tokenization SignDecomposition LanguageModel OneBitRuntime OneBitEvaluation \
	ResumableRuns CorpusSynthesis StudentExport HubClient HTMLReports OneBitServer $(if $(filter 1,$(TRAINING)),Torch OneBitTraining)

.DEFAULT_GOAL := help
.PHONY: help setup build demo example test test-release sanitize check-arm64 fuzz bench bench-check format lint docs clean

help: ## list the targets
	@echo "make …"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo "With TRAINING=0 all of it without libtorch: the runtime and its commands."

setup: ## install libtorch in .deps (540 MB to download, 500 MB on disk); CUDA=1 its CUDA libraries too (2.5 GB, 3.7 GB)
ifeq ($(TRAINING),1)
	@scripts/setup-libtorch.sh $(if $(filter 1,$(CUDA)),--cuda)
endif

build: setup ## build the command line: .build/release/onebit
	$(SWIFT) build --scratch-path $(BUILD) --configuration release --product onebit
	@echo "Built $(BUILD)/release/onebit"

demo: build ## compress the tiny model of Examples/TinyTeacher to one bit per weight, and generate text with it
	Examples/TinyTeacher/demo.sh

example: ## build the app of Examples/ChatApp, and run it on output/tiny-onebit where that is
	ONEBIT_TRAINING=0 $(SWIFT) build --package-path Examples/ChatApp --configuration release
	@if [ -d output/tiny-onebit ]; then \
		Examples/ChatApp/.build/release/ChatApp output/tiny-onebit "Once upon a time"; \
	else \
		echo "There is no output/tiny-onebit to run it on; make demo makes it."; \
	fi

# A thousand tests begun at once wait minutes for a thread each, and those that run programs keep the processor meanwhile: four
# at a time take half as long. Swift 6.3 has the option.
TESTS_AT_A_TIME = $(shell $(SWIFT) test --help-hidden 2>/dev/null \
	| grep -q experimental-maximum-parallelization-width && echo --experimental-maximum-parallelization-width 4)

test: setup ## run all tests; those against reference data need ../shared
	$(SWIFT) test --scratch-path $(BUILD) $(TESTS_AT_A_TIME)

# What the two targets below build and run: a part of the package, without libtorch.
RUNTIME_TESTS := ONEBIT_TRAINING=0 ONEBIT_TESTS=CSignKernelsTests,LanguageModelTests,OneBitRuntimeTests $(SWIFT) test

test-release: ## run the tests of kernels and runtime as they ship: optimized, without libtorch; allocations are counted
	$(RUNTIME_TESTS) --configuration release -Xswiftc -enable-testing --scratch-path .build-testing

# Swift knows no UndefinedBehaviorSanitizer on Linux: the kernels alone are compiled with it, and AddressSanitizer's
# runtime brings its functions. Leaks are not looked for, since Swift's runtime keeps what it allocates once; locals stay on the
# stack, whose depth Jinja's evaluator measures.
sanitize: ## run kernels' and runtime's tests under Address- and UndefinedBehaviorSanitizer, the threads' under ThreadSanitizer
	ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 $(RUNTIME_TESTS) --sanitize=address -Xswiftc -use-ld=lld \
		-Xcc -fsanitize=undefined -Xcc -fno-sanitize-recover=undefined --scratch-path .build-sanitize/address
	$(RUNTIME_TESTS) --sanitize=thread -Xswiftc -use-ld=lld --scratch-path .build-sanitize/thread --filter "ThreadPoolTests|PackedModelTests|SignLayoutCacheTests"

check-arm64: ## compare the kernels for 64-bit Arm with plain loops, under an emulator
	@scripts/check-arm64.sh

SECONDS ?= 60
fuzz: ## look for files that crash a loader, SECONDS=60 for each target (Fuzzing/README.md)
	Fuzzing/run.sh all $(SECONDS)

bench: build ## measure distillation and generation (Benchmarks/README.md has the other benchmarks)
	Benchmarks/run.sh

bench-check: ## compare the kernels' speeds, as ratios, with Benchmarks/Kernels/thresholds.json
	ONEBIT_TRAINING=0 $(SWIFT) run --package-path Benchmarks --scratch-path .build-benchmarks --configuration release \
		KernelBenchmark --check Benchmarks/Kernels/thresholds.json

format: ## format the Swift sources
	$(SWIFT) format format --in-place --recursive --parallel Sources Tests Fuzzing Benchmarks Examples Package.swift

lint: ## check the layout of the Swift sources, that modules import what they may, that the chat page is embedded
	$(SWIFT) format lint --strict --recursive --parallel Sources Tests Fuzzing Benchmarks Examples Package.swift
	scripts/check-imports.py
	scripts/embed-chat-page.py --check

docs: setup ## build the reference of every library into .docs; warnings are errors
	@mkdir -p .docs
	@for library in $(LIBRARIES); do \
		echo "Documentation of $$library"; \
		ONEBIT_DOCS=1 $(SWIFT) package --scratch-path .build-docs --allow-writing-to-directory .docs \
			generate-documentation --target $$library --output-path .docs/$$library --warnings-as-errors \
			|| exit 1; \
	done

clean: ## remove what was built; .deps stays
	rm -rf .build .build-runtime .build-testing .build-sanitize .build-benchmarks .build-docs .build-fuzz .docs Examples/ChatApp/.build output/tiny-onebit
