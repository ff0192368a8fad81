# weir: `make` builds, `make test` proves, `make help` lists the rest.
#
# Objects live in build/VARIANT; a variant is a set of flags (release, asan, tsan, coverage, fuzz), so that variants never
# mix. Sources are found by wildcard, one static library per room: a new file needs no line here.

VARIANT ?= release
PREFIX  ?= /usr/local
RELEASE := 0.1.0
ifeq ($(origin CC),default)
  CC := gcc
endif
ifeq ($(VARIANT),fuzz)
  CC := clang   # libFuzzer is clang's; it also makes clang the second compiler that every file must please
endif
B    := build/$(VARIANT)
DEPS := $(CURDIR)/build/deps
GOALS := $(or $(MAKECMDGOALS),all)

# One job per CPU unless -j says otherwise; several goals (make asan tsan) one after the other: tests measure time.
ifeq ($(MAKELEVEL),0)
  MAKEFLAGS += --jobs=$(shell nproc 2>/dev/null || echo 1)
endif
ifneq ($(word 2,$(GOALS)),)
  .NOTPARALLEL:
endif

# ---- what weir stands on: what is missing is installed before anything else, and said (.ci/deps) ----

PKG_CONFIG := PKG_CONFIG_PATH=$(DEPS)/lib/pkgconfig:$(PKG_CONFIG_PATH) pkg-config
NEEDS_NOTHING := help deps clean fmt docker-test
ifneq ($(filter-out $(NEEDS_NOTHING),$(GOALS)),)
  ifeq ($(findstring n,$(firstword -$(MAKEFLAGS))),)   # make -n only shows: it installs nothing
    ifneq ($(shell .ci/deps --check && echo ready),ready)
      $(shell .ci/deps 1>&2)
      ifneq ($(shell .ci/deps --check && echo ready),ready)
        $(error what weir is built from is missing or too old: it needs libmicrohttpd >= 1.0.1 (older parsers let \
                request smuggling through), hiredis >= 1.1, libuv >= 1.44, jansson >= 2.14, gnutls >= 3.7 and llhttp)
      endif
    endif
  endif
  # Built into build/deps where the system has none: libmicrohttpd (static) and llhttp (sources).
  LLHTTP := $(patsubst $(DEPS)/%.c,$(B)/%.o,$(wildcard $(DEPS)/llhttp/*.c))
  NAMES  := libmicrohttpd hiredis libuv jansson gnutls $(if $(LLHTTP),,libllhttp)
  LIBRARY_CFLAGS := $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags $(NAMES))) $(if $(LLHTTP),-isystem $(DEPS)/llhttp)
  LIBRARIES := $(shell $(PKG_CONFIG) --libs $(NAMES)) -lpthread -lm   # a static libmicrohttpd finds its gnutls behind it
endif

# ---- flags ----

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wcast-qual -Wpointer-arith \
        -Wwrite-strings -Wformat=2 -Wundef -Wimplicit-fallthrough -Wswitch-enum -Werror
WARN_ROOMS := $(WARN) -Wconversion -Wsign-conversion -Wno-string-conversion   # CHECK(!"said so") is fine; tests may be looser
# The table of keys changes 16 bytes at once: cmpxchg16b on x86-64, casp on arm64.
ARCH := $(if $(filter x86_64,$(shell uname -m)),-mcx16,$(if $(filter aarch64,$(shell uname -m)),-march=armv8.1-a))

FLAGS_release  := -O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong
FLAGS_asan     := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FLAGS_tsan     := -O1 -g -fsanitize=thread
FLAGS_coverage := -O0 -g --coverage -fprofile-update=atomic
FLAGS_fuzz     := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
$(if $(FLAGS_$(VARIANT)),,$(error VARIANT=$(VARIANT) is none of release, asan, tsan, coverage, fuzz))

CFLAGS_ALL  := -std=gnu17 -fPIE $(FLAGS_$(VARIANT)) $(ARCH) -MMD -MP -D_GNU_SOURCE $(CFLAGS)
LDFLAGS_ALL := -pie $(filter -fsanitize=% --coverage,$(FLAGS_$(VARIANT))) -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
ROOMS := -iquote gateway -iquote config -iquote limiter
VERSION := $(RELEASE)$(if $(wildcard .git),$(addprefix +,$(shell git describe --always --dirty --exclude '*' 2>/dev/null)))

# Compiles or links quietly; V=1 shows the commands.
Q := $(if $(V),,@)
say = @printf '  %-4s %s\n' $(1) $@

# ---- build ----

sources = $(wildcard $(1)/*.c)
objects = $(patsubst %.c,$(B)/%.o,$(call sources,$(1)))
limiter := $(call objects,limiter)
config  := $(call objects,config)
gateway := $(filter-out $(B)/gateway/main.o,$(call objects,gateway)) $(LLHTTP)
LIBS    := $(B)/libgateway.a $(B)/libconfig.a $(B)/liblimiter.a

all: $(B)/weir ## builds build/weir

$(B)/weir: $(B)/gateway/main.o $(LIBS)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBRARIES)
ifeq ($(VARIANT),release)
	@ln -sf release/weir build/weir
endif

$(B)/liblimiter.a: $(limiter)
$(B)/libconfig.a: $(config)
$(B)/libgateway.a: $(gateway)
$(B)/%.a: $(B)/files
	$(call say,AR)
	@rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

$(B)/limiter/%.o: limiter/%.c $(B)/flags
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_ALL) $(WARN_ROOMS) -iquote limiter -c -o $@ $<
$(B)/config/%.o: config/%.c $(B)/flags
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_ALL) $(WARN_ROOMS) -iquote config -iquote limiter $(LIBRARY_CFLAGS) -c -o $@ $<
$(B)/gateway/%.o: gateway/%.c $(B)/flags
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_ALL) $(WARN_ROOMS) $(WEIR_VERSION) $(ROOMS) $(LIBRARY_CFLAGS) -c -o $@ $<
$(B)/llhttp/%.o: $(DEPS)/llhttp/%.c $(B)/flags
	$(call say,CC)
	$(Q)$(CC) $(CFLAGS_ALL) -w -DLLHTTP_STRICT_MODE=1 -I$(DEPS)/llhttp -c -o $@ $<

# Every .c under tests/{unit,model,stress,bench,fuzz} is a program of its own.
$(B)/tests/%: tests/%.c $(LIBS) $(B)/flags
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(WARN) -I$(dir $<) $(ROOMS) $(LIBRARY_CFLAGS) -MF $@.d $(LDFLAGS_ALL) $(if $(findstring tests/fuzz/,$@),-fsanitize=fuzzer) \
	  -o $@ $< $(LIBS) $(LIBRARIES) $(if $(findstring tests/fuzz/,$@),,-lcmocka)
programs = $(foreach kind,$(1),$(patsubst %.c,$(B)/%,$(call sources,tests/$(kind))))
programs: $(call programs,$(KINDS)) $(if $(filter integration soak,$(KINDS)),$(B)/weir)

# What was compiled with other flags, knows another version, or holds a file that is gone, is made again.
define written_when_changed
@mkdir -p $(@D) $(addprefix $(B)/,limiter config gateway llhttp tests/unit tests/model tests/stress tests/bench tests/fuzz)
@echo '$(1)' | cmp -s - $@ || echo '$(1)' >$@
endef
$(B)/flags: FORCE
	$(call written_when_changed,$(CC) $(CFLAGS_ALL) $(WARN_ROOMS) $(LDFLAGS_ALL) $(LIBRARY_CFLAGS) $(LIBRARIES))
$(B)/files: FORCE
	$(call written_when_changed,$(limiter) $(config) $(gateway))
$(B)/version: FORCE
	$(call written_when_changed,$(VERSION))
VERSIONED := $(patsubst %.c,$(B)/%.o,$(shell grep -ls WEIR_VERSION gateway/*.c))
$(VERSIONED): $(B)/version
$(VERSIONED): WEIR_VERSION = -DWEIR_VERSION='"$(VERSION)"'
-include $(wildcard $(B)/*/*.d $(B)/tests/*/*.d)

# ---- run and prove ----

run: $(B)/weir ## starts a demonstration (a gateway and an origin); make run CONFIG=my.json runs yours
	@tests/demo.sh $(CONFIG)

# build and run suites: $(call prove,VARIANT,KINDS)
define prove
@.ci/deps --test
@+$(MAKE) --no-print-directory programs VARIANT=$(1) KINDS="$(2)"
@tests/run $(1) $(2)
endef
test: ## every fast suite
	$(call prove,release,layers unit model stress integration)
asan: ## the same with AddressSanitizer and UndefinedBehaviorSanitizer watching
	$(call prove,asan,unit model stress integration)
tsan: ## the same with ThreadSanitizer watching
	$(call prove,tsan,unit stress integration)
layers: $(B)/liblimiter.a ## the architecture as a test
	@tests/layers.sh $<
coverage: ## lines that the tests reach, per room
	@find build/coverage -name '*.gcda' -delete 2>/dev/null; true
	$(call prove,coverage,unit model stress integration)
	@tests/coverage build/coverage limiter=95 config=95 gateway=85
fuzz: ## libFuzzer on every parser, FUZZ_SECONDS (60) each; finds go to build/fuzz/corpus
	@.ci/deps --clang
	@+$(MAKE) --no-print-directory programs VARIANT=fuzz KINDS=fuzz
	@tests/run fuzz fuzz
soak: ## SOAK_SECONDS (600) of mixed load: memory, descriptors and counters must stay level
	@.ci/deps --bench
	@+$(MAKE) --no-print-directory programs KINDS="stress soak"
	@STRESS_SECONDS=$${STRESS_SECONDS:-60} tests/run release stress soak
bench: build/weir $(B)/tests/bench/relay ## CPU per request beside nginx, HAProxy and a raw relay
	@.ci/deps --bench
	@tests/bench/run
bench-core: $(B)/tests/bench/core ## nanoseconds of one decision
	@$<
docker-test: ## builds the Dockerfile's image and runs it
	@.ci/deps --docker
	@tests/integration/dockerfile.sh

# ---- the rest ----

fmt: ## formats every C file
	@.ci/deps --clang
	@clang-format -i $(foreach room,limiter config gateway tests/*,$(wildcard $(room)/*.[ch]))
tidy: ## clang-tidy over the three rooms
	@.ci/deps --clang
	@printf '%s\n' $(foreach room,limiter config gateway,$(call sources,$(room))) | xargs -P "$$(nproc)" -I{} \
	  clang-tidy --quiet {} -- -std=gnu17 -D_GNU_SOURCE -DWEIR_VERSION='""' $(ARCH) $(ROOMS) $(LIBRARY_CFLAGS) 2>/dev/null
install: $(B)/weir ## into DESTDIR/PREFIX
	install -D -m755 $(B)/weir $(DESTDIR)$(PREFIX)/bin/weir
	install -D -m644 -t $(DESTDIR)$(PREFIX)/share/doc/weir/examples $(wildcard config/*.json config/*.service)
	$(if $(wildcard docs/weir.1),install -D -m644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/weir.1)
deps: ## installs what building and testing need
	@.ci/deps --test
clean: ## removes what was built, keeps build/deps
	rm -rf build/release build/asan build/tsan build/coverage build/fuzz build/weir
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
.PHONY: all programs run test asan tsan layers coverage fuzz soak bench bench-core docker-test fmt tidy install deps clean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:
