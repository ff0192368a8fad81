# weir: make (build) · make run · make test · make asan tsan fuzz soak bench bench-core coverage layers fmt tidy install · make deps
#
# Objects live in build/VARIANT; a variant is a set of flags (release, asan, tsan, coverage, fuzz). Sources are found by
# wildcard per room: a new file needs no line here.

VARIANT ?= release
CC      ?= gcc
B       := build/$(VARIANT)
DEPS    := $(CURDIR)/build/deps
# $(shell) does not see exported variables before make 4.4: the path is given by hand.
PKG_CONFIG := PKG_CONFIG_PATH=$(DEPS)/lib/pkgconfig:$(PKG_CONFIG_PATH) pkg-config

GOALS := $(or $(MAKECMDGOALS),all)
NEEDS_NOTHING := deps clean fmt help
ifneq ($(filter-out $(NEEDS_NOTHING),$(GOALS)),)
  # What is missing is installed before anything else, and said.
  ifneq ($(shell .ci/deps --check && echo ready),ready)
    $(shell .ci/deps 1>&2)
    ifneq ($(shell .ci/deps --check && echo ready),ready)
      $(error what weir is built from is missing or too old: it needs libmicrohttpd >= 1.0.1 (older parsers let request smuggling through), hiredis >= 1.1, libuv >= 1.44, jansson >= 2.14, gnutls >= 3.7 and llhttp; `make deps` installs them)
    endif
  endif
  LIBRARY_CFLAGS := $(shell $(PKG_CONFIG) --cflags libmicrohttpd hiredis libuv jansson gnutls | sed 's/-I/-isystem /g') -isystem $(DEPS)/llhttp
  LIBRARIES := $(shell $(PKG_CONFIG) --libs --static libmicrohttpd | sed 's/-lmicrohttpd/-lmicrohttpd/') \
               $(shell $(PKG_CONFIG) --libs hiredis libuv jansson gnutls)
endif

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wcast-qual -Wpointer-arith \
        -Wwrite-strings -Wformat=2 -Wundef -Wimplicit-fallthrough -Wswitch-enum -Werror
WARN_PURE := $(WARN) -Wconversion -Wsign-conversion
ifneq ($(shell uname -m),aarch64)
  ARCH := -mcx16   # cmpxchg16b: a cell's key and state change together
else
  ARCH := -march=armv8.1-a   # casp
endif

FLAGS_release  := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
FLAGS_asan     := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -fPIE
FLAGS_tsan     := -O1 -g -fsanitize=thread -fPIE
FLAGS_coverage := -O0 -g --coverage -fprofile-update=atomic -fPIE
FLAGS_fuzz     := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fPIE
ifeq ($(VARIANT),release)
  ifneq ($(shell echo | $(CC) -O2 -D_FORTIFY_SOURCE=3 -E -dM - 2>/dev/null | grep -c FORTIFY_SOURCE),0)
    FLAGS_release := $(subst _FORTIFY_SOURCE=2,_FORTIFY_SOURCE=3,$(FLAGS_release))
  endif
endif
VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)
CFLAGS_ALL := -std=gnu17 $(FLAGS_$(VARIANT)) $(ARCH) -MMD -MP -D_GNU_SOURCE $(CFLAGS)
LDFLAGS_ALL := $(filter -fsanitize=% --coverage,$(subst fuzzer-no-link$(,),,$(FLAGS_$(VARIANT)))) -pie -Wl,-z,relro,-z,now $(LDFLAGS)

sources = $(wildcard $(1)/*.c)
objects = $(patsubst %.c,$(B)/%.o,$(1))
LIMITER := $(call objects,$(call sources,limiter))
CONFIG  := $(call objects,$(call sources,config))
GATEWAY := $(filter-out $(B)/gateway/main.o,$(call objects,$(call sources,gateway))) $(B)/llhttp/api.o $(B)/llhttp/http.o $(B)/llhttp/llhttp.o
LIBS    := $(B)/libgateway.a $(B)/libconfig.a $(B)/liblimiter.a

all: build/weir
build/weir: build/release/weir
	@ln -sf release/weir $@

$(B)/weir: $(B)/gateway/main.o $(LIBS)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBRARIES) -lpthread -lm

$(B)/liblimiter.a: $(LIMITER)
$(B)/libconfig.a: $(CONFIG)
$(B)/libgateway.a: $(GATEWAY)
$(B)/%.a:
	@mkdir -p $(@D); rm -f $@
	$(AR) rcs $@ $^

# The pure leaves are compiled with the conversion warnings too; a gateway file joins them by being named here.
PURE_LEAVES := rule request route identity reply
$(B)/limiter/%.o: limiter/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(WARN_PURE) -Ilimiter -c -o $@ $<
$(B)/config/%.o: config/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(if $(filter $*,$(PURE_LEAVES)),$(WARN_PURE),$(WARN)) -Iconfig -Ilimiter $(LIBRARY_CFLAGS) -c -o $@ $<
$(B)/gateway/%.o: gateway/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(if $(filter $*,$(PURE_LEAVES)),$(WARN_PURE),$(WARN)) -DWEIR_VERSION='"$(VERSION)"' \
	  -Igateway -Iconfig -Ilimiter $(LIBRARY_CFLAGS) -c -o $@ $<
$(B)/llhttp/%.o: $(DEPS)/llhttp/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -w -I$(DEPS)/llhttp -c -o $@ $<

# Every .c under tests/{unit,model,stress,bench} is a program of its own; -Itests/unit etc. only for what they share.
TEST_KINDS := unit model stress bench replay
tests_of = $(patsubst %.c,$(B)/%,$(wildcard tests/$(1)/*.c))
$(B)/tests/%: tests/%.c $(LIBS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(WARN) -I$(dir $<) -Igateway -Iconfig -Ilimiter $(LIBRARY_CFLAGS) -MF $@.d $(LDFLAGS_ALL) -o $@ $< $(LIBS) \
	  $(LIBRARIES) -lcmocka -lpthread -lm

test-programs: $(foreach k,unit model stress,$(call tests_of,$(k))) $(B)/weir
-include $(shell find build -name '*.d' -not -path 'build/deps/*' 2>/dev/null)

deps:
	@.ci/deps --test
clean:
	rm -rf build/release build/asan build/tsan build/coverage build/fuzz build/weir
.PHONY: all deps clean test-programs
.DELETE_ON_ERROR:
.SECONDARY:
