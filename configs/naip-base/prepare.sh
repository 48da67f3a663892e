#!/usr/bin/env bash
# Datasets of naip-base from the Planetary Computer: pip install 'geodiff-mosaic[stac]' signs its
# addresses. Boxes of a tenth of a degree, as many as the disk holds: a patch of 512 px takes
# 0.8 MB (and 0.13 MB once encoded), one box at 0.6 m about 1,000 patches a year of imagery.
# 150,000 patches are 118 GB. Nothing here was run to the end by the authors.
set -euo pipefail
STAC=https://planetarycomputer.microsoft.com/api/stac/v1
number=0
while read -r box; do
  number=$((number + 1))
  geodiff prepare --stac "$STAC" --collection naip --bbox="$box" --datetime 2018/2023 --res 0.6 \
    --patch 512 --block 4000 --workers 8 --out "datasets/base/$number"
done <<'BOXES'
-122.35,37.75,-122.25,37.85
-112.10,33.40,-112.00,33.50
-104.95,39.70,-104.85,39.80
-93.30,44.90,-93.20,45.00
-87.70,41.85,-87.60,41.95
-95.40,29.70,-95.30,29.80
-84.40,33.70,-84.30,33.80
-80.30,25.75,-80.20,25.85
-78.70,35.75,-78.60,35.85
-74.10,40.70,-74.00,40.80
-119.80,36.70,-119.70,36.80
-101.90,33.55,-101.80,33.65
-91.60,41.60,-91.50,41.70
-81.70,38.30,-81.60,38.40
-70.30,43.60,-70.20,43.70
-108.60,45.70,-108.50,45.80
BOXES
