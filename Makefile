# SPDX-License-Identifier: MIT
#
# Short names for what CMake and scripts/ do; `make help` lists them.
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=
CLANG ?= clang
# What runs on several threads.
TSAN_TESTS ?= test_attention test_block_pass test_cpu_kernels test_dataset_generate \
    test_emulator test_emulator_device test_fake_quant test_generate test_gpu_model test_gpu_session \
    test_gpu_threads test_kernels_compile test_kernels_table test_linear test_memory test_optimise \
    test_problems test_rtn test_session test_stats test_thread test_timer test_tokenizer test_trial \
    test_tuner test_worker test_writer

build = cmake --build $(1) -j $(JOBS)
configure = cmake -S . -B $(1) $(CMAKE_FLAGS) $(2)

.DEFAULT_GOAL := build
.PHONY: build demo test install asan tsan clang fuzz bench format format-check tidy check-source \
        setup clean help

build: ## build the library, the command line and the tests (build/release)
	@scripts/setup.sh --check build
	$(call configure,build/release)
	$(call build,build/release)

setup: ## show and install the packages that building, testing and the demo need
	@scripts/setup.sh build demo cuda

demo: setup ## set up, build, and show a model quantised, measured and running
	$(call configure,build/release)
	$(call build,build/release)
	scripts/demo.sh build/release

test: ## set up, build, run all tests
	@scripts/setup.sh build cuda
	$(call configure,build/release)
	$(call build,build/release)
	scripts/run_tests.sh build/release

install: build ## install under PREFIX (/usr/local)
	cmake --install build/release --prefix "$(PREFIX)"

asan: ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/setup.sh build cuda
	$(call configure,build/asan,-DPARO_SANITIZE=address)
	$(call build,build/asan)
	scripts/run_tests.sh build/asan

tsan: ## the tests that use threads under ThreadSanitizer
	@scripts/setup.sh build cuda
	$(call configure,build/tsan,-DPARO_SANITIZE=thread)
	$(call build,build/tsan)
	PARO_TEST_WRAPPER="$$(setarch -R true 2>/dev/null && echo setarch -R)" \
	    scripts/run_tests.sh build/tsan $(TSAN_TESTS)

clang: ## build all with clang (warnings are errors)
	@scripts/setup.sh build fuzz
	$(call configure,build/clang,-DCMAKE_C_COMPILER=$(CLANG))
	$(call build,build/clang)

fuzz: ## run every fuzz harness for FUZZ_SECONDS (60)
	@scripts/setup.sh build fuzz
	$(call configure,build/fuzz,-DCMAKE_C_COMPILER=$(CLANG) -DPARO_FUZZ=ON -DPARO_TESTS=OFF)
	$(call build,build/fuzz)
	scripts/run_fuzz.sh build/fuzz $(FUZZ_SECONDS)

bench: setup ## measure this machine: GB/s of the linears, MB/s of the tokenizer (bench/)
	$(call configure,build/release)
	cmake --build build/release -j $(JOBS) --target bench_cpu_linear bench_tokenizer
	build/release/bench_cpu_linear
	build/release/bench_tokenizer models/demo /usr/share/games/fortunes/science

format: ## rewrite the sources as .clang-format says
	@scripts/setup.sh lint
	git ls-files '*.c' '*.h' | xargs clang-format -i

format-check: ## fail where `make format` would change something
	@scripts/check_format.sh

tidy: ## clang-tidy over the library and the command line
	@scripts/setup.sh build lint
	$(call configure,build/clang,-DCMAKE_C_COMPILER=$(CLANG))
	git ls-files 'base/*.c' 'cpu/*.c' 'tokenizer/*.c' 'families/*.c' 'gpu/*.c' 'emulator/*.c' \
	    'codegen/*.c' 'cache/*.c' 'tuner/*.c' 'runtime/*.c' 'calib/*.c' 'lua/*.c' 'cli/*.c' | \
	    xargs -P $(JOBS) -n 4 clang-tidy --quiet -p build/clang

check-source: ## floors, doors, licence lines and lengths
	@scripts/check_source.sh

clean: ## remove everything that was built
	rm -rf build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "    make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
