"""The picture of the polygons: the plan is drawn where the mosaic shows it."""

from __future__ import annotations

import shapely
from affine import Affine
from PIL import ImageColor


def test_the_plan_is_drawn_where_it_lies(load) -> None:
    module = load("plan_picture")
    plan = module.drawn()
    assert plan.geometry.is_valid.all()
    west, south, east, north = plan.total_bounds
    assert (west, south) == module.CORNER
    pixels = 600
    affine = Affine((east - west) / pixels, 0, west, 0, (south - north) / pixels, north)
    picture = module.picture(affine, pixels)
    assert picture.size == (module.SIDE, module.SIDE)
    for number, (_, colour, ring) in enumerate(module.PLAN):
        above = shapely.union_all(plan.geometry[number + 1 :])
        seen = plan.geometry[number].difference(above).buffer(-20)
        x, y = max(shapely.get_parts(seen), key=shapely.area).exterior.coords[0]
        across = (x - west) / (east - west) * module.SIDE
        down = (north - y) / (north - south) * module.SIDE
        assert picture.getpixel((round(across), round(down))) == ImageColor.getrgb(colour), ring
