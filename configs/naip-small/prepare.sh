#!/usr/bin/env bash
# The datasets of naip-small. IMAGERY is a folder with the imagery named in the model card.
set -euo pipefail
IMAGERY="${1:?usage: prepare.sh IMAGERY}"
geodiff prepare "$IMAGERY/naip_ca_060cm/images" --split-table "$IMAGERY/naip_ca_060cm/manifest.csv" --out datasets/naip_ca
geodiff prepare "$IMAGERY/ucmerced_030cm/images" --split-table "$IMAGERY/ucmerced_030cm/labels.csv" --gsd 0.3 --out datasets/ucm30
geodiff prepare "$IMAGERY/ucmerced_030cm/images" --split-table "$IMAGERY/ucmerced_030cm/labels.csv" --gsd 0.3 --res 0.6 --patch 128 --out datasets/ucm60
geodiff prepare "$IMAGERY/naip_desert_1m" --stride 128 --out datasets/desert
geodiff prepare "$IMAGERY/naip_wv_1m" --gsd 1.0 --place '(.+)_[ab]' --exclude nlcd --out datasets/wv
geodiff prepare "$IMAGERY/naip_va_1m" --stride 64 --out datasets/va
geodiff prepare "$IMAGERY/usgs_obx_035cm/images" --gsd 0.34 --out datasets/obx35
geodiff prepare "$IMAGERY/usgs_obx_035cm/images" --gsd 0.34 --res 0.6 --stride 128 --out datasets/obx60
