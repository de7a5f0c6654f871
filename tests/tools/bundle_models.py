"""Writes imagen_widget/_models/bundled.json: python -m tests.tools.bundle_models

Names, enums, defaults and required fields: fal's own OpenAPI, through the types in fal-ai/fal-js
381105e (2026-08-02), or fal-endpoint-types 84b0b71 (2026-02-27) for Imagen, which was gone by then.
Ranges: fal's llms.txt pages. Prices: fal-model-atlas 48842e6 (2026-08-21) and the llms.txt pages.
OpenAI's own models: openai-python e43b422 (2026-08-21). Nothing here was measured.
"""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "imagen_widget/_models/bundled.json"

FAL, KKIAI, OPENAI = ("fal", "demo"), ("fal", "kkiai", "demo"), ("openai", "kkiai")
READ, READ_IMAGEN, READ_FLUX = "2026-08-02", "2026-02-27", "2026-06-17"
READ_OPENAI = "2026-08-21"

Data = dict[str, Any]

# ------------------------------------------------------------------------------------ fields


def field(name: str, kind: str, help: str, default: object = None, **more: Any) -> Data:
    title = more.pop("title", name.removesuffix("_url").removesuffix("_urls"))
    data = {"name": name, "kind": kind, "title": title.replace("_", " ").capitalize(), "help": help}
    return data | ({} if default is None else {"default": default}) | more


def choice(name: str, words: str, default: str | None, help: str, **more: Any) -> Data:
    return field(name, "choice", help, default, allowed=words.split(), **more)


def whole(name: str, low: int, high: int, default: int | None, help: str, **more: Any) -> Data:
    return field(name, "whole", help, default, low=low, high=high, **more)


def number(name: str, low: float, high: float, default: float, help: str) -> Data:
    return field(name, "number", help, default, low=low, high=high, step=0.1)


def switch(name: str, default: bool | None, help: str, **more: Any) -> Data:
    return field(name, "switch", help, default, **more)


def count(high: int = 4, name: str = "num_images") -> Data:
    return whole(name, 1, high, 1, "How many pictures to make.", title="Images", role="count")


def ratio(words: str, default: str | None) -> Data:
    return choice("aspect_ratio", words, default, "Width to height of the picture.")


def resolution(words: str, default: str) -> Data:
    return choice("resolution", words, default, "How large the picture is; more costs more.")


def file_format(words: str, default: str) -> Data:
    return choice("output_format", words, default, "The kind of file.", title="Format")


def size(default: object, extra: str = "", help: str = "A preset, or width and height.") -> Data:
    words = [*PRESETS.split(), *extra.split()]
    return field("image_size", "size", help, default, allowed=words, role="size", custom_size=True)


def string_size(words: str, default: str, name: str = "image_size") -> Data:
    return choice(name, words, default, "Width and height in pixels.", title="Size", role="size")


def image(help: str, **more: Any) -> Data:
    return field("image_url", "picture", help, title="Image", role="picture", required=True, **more)


def images(help: str, most: int | None = None, *, required: bool = True, **more: Any) -> Data:
    more = {"name": "image_urls", "title": "Images in", "role": "picture"} | more
    more |= {"max_items": most} if most else {}
    more |= {"required": True} if required else {}
    return field(kind="pictures", help=help, **more)


def mask(name: str, *, required: bool = False) -> Data:
    needed = {"required": True} if required else {}
    return field(
        name, "picture", "White marks what to change.", title="Mask", role="mask", **needed
    )


def tolerance(high: int, default: str) -> Data:
    words = " ".join(map(str, range(1, high + 1)))
    help = f"How much passes the content checker: 1 is strictest, {high} passes most."
    return choice("safety_tolerance", words, default, help)


def steps(low: int, high: int, default: int) -> Data:
    return whole(
        "num_inference_steps", low, high, default, "More steps: finer and slower.", title="Steps"
    )


def guidance(low: float, high: float, default: float) -> Data:
    return number("guidance_scale", low, high, default, "How closely to follow the prompt.")


def acceleration(default: str) -> Data:
    return choice("acceleration", "none regular high", default, "Faster, with a little less care.")


PRESETS = "square_hd square portrait_4_3 portrait_16_9 landscape_4_3 landscape_16_9"
PROMPT = field("prompt", "text", "What the picture should show.", role="prompt", required=True)
EDIT_PROMPT = PROMPT | {"help": "What to change, or what to make of the pictures."}
SEED = field("seed", "whole", "The same seed and settings give the same picture.", role="seed")
SYNC = switch("sync_mode", None, "Return the picture in the answer itself.", hidden=True)
CHECKER = switch("enable_safety_checker", True, "Check the pictures for unsafe content.")
NEGATIVE = field("negative_prompt", "text", "What the picture should not show.", "")
WEB = switch("enable_web_search", None, "Look things up in the web first; costs more.")
SYSTEM = field("system_prompt", "text", "Standing instructions to the model.", "")
ONE_EACH = switch("limit_generations", True, "Make one picture for each one asked for.")
THINKING = choice("thinking_level", "minimal high", None, "How long the model thinks first.")
EXPAND = switch("enable_prompt_expansion", None, "Let the model write the prompt out.")
ENHANCE = switch("enhance_prompt", None, "Let the model improve the prompt.")
MAX_IMAGES = whole(
    "max_images", 1, 6, 1, "Up to how many pictures each generation may return; all are charged."
)
MODE = choice("enhance_prompt_mode", "standard fast", "standard", "How the prompt is improved.")
LORAS = field("loras", "json", "Up to three LoRA weights: objects of path and scale.")
SPEED = choice(
    "rendering_speed", "TURBO BALANCED QUALITY", "BALANCED", "Slower is finer; the price follows."
)
QUALITY = {"help": "Higher is finer, slower and dearer."}
BACKGROUND = choice(
    "background", "auto transparent opaque", "auto", "Transparent wants png or webp."
)
FIDELITY = choice(
    "input_fidelity", "low high", "high", "How closely to keep to the input's features."
)

IMAGEN_RATIOS = "1:1 16:9 9:16 4:3 3:4"
BANANA_RATIOS = "21:9 16:9 3:2 4:3 5:4 1:1 4:5 3:4 2:3 9:16"
KONTEXT_RATIOS = "21:9 16:9 4:3 3:2 1:1 2:3 3:4 9:16 9:21"
GROK_RATIOS = "2:1 20:9 19.5:9 16:9 4:3 3:2 1:1 2:3 3:4 9:16 9:19.5 9:20 1:2"
GPT_SIZES = "1024x1024 1536x1024 1024x1536"
GPT_2_SIZES = f"auto {GPT_SIZES} 2048x2048 2048x1152 1152x2048 3840x2160 2160x3840"

IDEOGRAM_PRESETS = """
80S_ILLUSTRATION 90S_NOSTALGIA ABSTRACT_ORGANIC ANALOG_NOSTALGIA ART_BRUT ART_DECO ART_POSTER AURA
AVANT_GARDE BAUHAUS BLUEPRINT BLURRY_MOTION BRIGHT_ART C4D_CARTOON CHILDRENS_BOOK COLLAGE
COLORING_BOOK_I COLORING_BOOK_II CUBISM DARK_AURA DOODLE DOUBLE_EXPOSURE DRAMATIC_CINEMA EDITORIAL
EMOTIONAL_MINIMAL ETHEREAL_PARTY EXPIRED_FILM FLAT_ART FLAT_VECTOR FOREST_REVERIE GEO_MINIMALIST
GLASS_PRISM GOLDEN_HOUR GRAFFITI_I GRAFFITI_II HALFTONE_PRINT HIGH_CONTRAST HIPPIE_ERA ICONIC
JAPANDI_FUSION JAZZY LONG_EXPOSURE MAGAZINE_EDITORIAL MINIMAL_ILLUSTRATION MIXED_MEDIA MONOCHROME
NIGHTLIFE OIL_PAINTING OLD_CARTOONS PAINT_GESTURE POP_ART RETRO_ETCHING RIVIERA_POP SPOTLIGHT_80S
STYLIZED_RED SURREAL_COLLAGE TRAVEL_POSTER VINTAGE_GEO VINTAGE_POSTER WATERCOLOR WEIRD
WOODBLOCK_PRINT
"""

RECRAFT_STYLES = {
    "realistic_image": """b_and_w hard_flash hdr natural_light studio_portrait enterprise
        motion_blur evening_light faded_nostalgia forest_life mystic_naturalism natural_tones
        organic_calm real_life_glow retro_realism retro_snapshot urban_drama village_realism
        warm_folk""",
    "digital_illustration": """pixel_art hand_drawn grain infantile_sketch 2d_art_poster handmade_3d
        hand_drawn_outline engraving_color 2d_art_poster_2 antiquarian bold_fantasy child_book
        child_books cover crosshatch digital_engraving expressionism freehand_details grain_20
        graphic_intensity hard_comics long_shadow modern_folk multicolor neon_calm noir
        nostalgic_pastel outline_details pastel_gradient pastel_sketch pop_art pop_renaissance
        street_art tablet_sketch urban_glow urban_sketching vanilla_dreams young_adult_book
        young_adult_book_2""",
    "vector_illustration": """bold_stroke chemistry colored_stencil contour_pop_art cosmics cutout
        depressive editorial emotional_flat infographical marker_outline mosaic naivector
        roundish_flat segmented_colors sharp_contrast thin vector_photo vivid_shapes engraving
        line_art line_circuit linocut""",
}

# ------------------------------------------------------------------------------------ prices


def each(amount: str, *, per: str = "picture", **more: Any) -> Data:
    return {"per": per, "amount": amount, "unit_price": amount} | more


def megapixel(amount: str) -> Data:
    return each(amount, per="megapixel")


def by(fields: str, *rows: str, **more: Any) -> Data:
    """Return a table of prices: a row has a pattern for each field, then the dollars."""
    table = [(row.split()[:-1], row.split()[-1]) for row in rows]
    return {"by": fields.split(), "table": table} | more


def gpt_table(fields: str, low: str, medium: str, high: str) -> Data:
    """Return the table of size and quality; what is left to the server costs the most."""
    rows = []
    for quality, prices in (("low", low), ("medium", medium), ("*", high)):
        square, wide, tall = prices.split()
        rows += [f"{quality} 1024x1024 {square}", f"{quality} 1536x1024 {wide}"]
        rows += [f"{quality} 1024x1536 {tall}", f"{quality} * {max(wide, tall)}"]
    return by(fields, *rows)


def gpt_2_table(fields: str) -> Data:
    """Return GPT Image 2's prices, which are by tokens: about these for sizes up to 1.6 MP."""
    rows = []
    for quality, small, large in (
        ("low", ".01", ".02"),
        ("medium", ".06", ".14"),
        ("*", ".22", ".57"),
    ):
        usual = (*PRESETS.split(), *GPT_SIZES.split(), "auto")
        rows += [*(f"{quality} {word} {small}" for word in usual), f"{quality} * {large}"]
    return by(fields, *rows)


GPT_1_PRICE = (".011 .016 .016", ".042 .063 .063", ".167 .25 .25")
GPT_15_PRICE = (".009 .013 .013", ".034 .050 .051", ".133 .199 .200")
BANANA_2_PRICE = each(
    "0.08",
    factors=[
        ("resolution", "0.5K", "0.75"),
        ("resolution", "2K", "1.5"),
        ("resolution", "4K", "2"),
    ],
    extras=[("enable_web_search", "true", "0.015"), ("thinking_level", "high", "0.002")],
)
BANANA_PRO_PRICE = each(
    "0.15",
    factors=[("resolution", "4K", "2")],
    extras=[("enable_web_search", "true", "0.015")],
)
IDEOGRAM_PRICE = by("rendering_speed", "TURBO 0.03", "BALANCED 0.06", "QUALITY 0.09")
RECRAFT_PRICE = each("0.04", factors=[("style", "vector*", "2")])
GROK_PRICE = by("resolution", "1k 0.02", "2k 0.05")  # sources differ between these two

# ------------------------------------------------------------------------------------ models


def model(
    id: str,
    alias: str,
    title: str,
    price: Data,
    seconds: float,
    tags: str,
    *fields: Data,
    **more: Any,
) -> Data:
    """Return a model's entry; one of fal's unless `more` says otherwise."""
    entry: Data = {"id": id, "alias": alias, "title": title, "providers": FAL, "as_of": READ}
    entry |= {"typical_seconds": seconds, "tags": [t.strip() for t in tags.split(",")]}
    return entry | more | {"price": price, "fields": list(fields)}


ENDED = {
    "providers": ("kkiai", "demo"),
    "as_of": READ_IMAGEN,
    "status": "retired",
    "note": "Google ended Imagen 4 upstream in August 2026",
}


def ended(fal: str, kkiai: str) -> Data:
    return ENDED | {"successors": [("", fal), ("kkiai", kkiai), ("openai", "gpt-image-1.5")]}


def imagen() -> list[Data]:
    def tier(id: str, alias: str, title: str, price: str, seconds: float, **more: Any) -> Data:
        fields = [PROMPT, ratio(IMAGEN_RATIOS, "1:1"), count(), resolution("1K 2K", "1K")]
        fields += [file_format("png jpeg webp", "png"), SEED, tolerance(6, "4"), SYNC]
        fields = [f for f in fields if f["name"] != "resolution" or "fast" not in alias]
        edits = {"edits_with": "fal-ai/flux-pro/kontext"}
        return model(
            id, alias, title, each(price), seconds, "text to image", *fields, **edits, **more
        )

    base = "fal-ai/imagen4/preview"
    return [
        tier(base, "imagen4", "Imagen 4", "0.04", 8, **ended("nano-banana-2", "nano-banana")),
        tier(
            f"{base}/fast", "imagen4-fast", "Imagen 4 Fast", "0.02", 4.8,
            **ended("nano-banana", "nano-banana"),
        ),
        tier(
            f"{base}/ultra", "imagen4-ultra", "Imagen 4 Ultra", "0.06", 12,
            **ended("nano-banana-pro", "nano-banana"),
        ),
    ]  # fmt: skip


def nano_banana() -> list[Data]:
    formats = file_format("jpeg png webp", "png")
    most = [tolerance(6, "4"), SYNC]
    two = [WEB, THINKING, SYSTEM, ONE_EACH]
    pro = [WEB, SYSTEM, ONE_EACH]
    four, three = resolution("0.5K 1K 2K 4K", "1K"), resolution("1K 2K 4K", "1K")
    wide = f"auto {BANANA_RATIOS} 4:1 1:4 8:1 1:8"
    auto = f"auto {BANANA_RATIOS}"
    several = images("The pictures to edit or combine.")
    video = [
        field(f"{kind}_url", "text", f"The https address of a {name} to go by.", title=kind)
        for kind, name in (("video", "video"), ("audio", "sound"), ("pdf", "PDF"))
    ]
    id, edit = "fal-ai/nano-banana", "edit, several pictures"
    return [
        model(
            id, "nano-banana", "Nano Banana", each("0.039"), 8, "text to image",
            PROMPT, ratio(BANANA_RATIOS, "1:1"), count(), formats, SEED, ONE_EACH, *most,
            providers=KKIAI, edits_with=f"{id}/edit",
        ),
        model(
            f"{id}/edit", "nano-banana-edit", "Nano Banana Edit", each("0.039"), 9, edit,
            EDIT_PROMPT, several, ratio(auto, "auto"), count(), formats, SEED, ONE_EACH, *most,
        ),
        model(
            f"{id}-2", "nano-banana-2", "Nano Banana 2", BANANA_2_PRICE, 12,
            "text to image, text in pictures",
            PROMPT, ratio(wide, "auto"), count(), four, formats, SEED, *two, *most,
            edits_with=f"{id}-2/edit",
        ),
        model(
            f"{id}-2/edit", "nano-banana-2-edit", "Nano Banana 2 Edit", BANANA_2_PRICE, 14, edit,
            EDIT_PROMPT, images("The pictures to edit; up to 15 MB each.", required=False),
            ratio(wide, "auto"), count(), four, formats, SEED, *two, *video, *most,
        ),
        model(
            f"{id}-pro", "nano-banana-pro", "Nano Banana Pro", BANANA_PRO_PRICE, 20,
            "text to image, text in pictures",
            PROMPT, ratio(auto, "1:1"), count(), three, formats, SEED, *pro, *most,
            edits_with=f"{id}-pro/edit",
        ),
        model(
            f"{id}-pro/edit", "nano-banana-pro-edit", "Nano Banana Pro Edit", BANANA_PRO_PRICE,
            22, edit,
            EDIT_PROMPT, several, ratio(auto, "auto"), count(), three, formats, SEED, *pro, *most,
        ),
    ]  # fmt: skip


def flux() -> list[Data]:
    two_formats, three_formats = "jpeg png", "jpeg png webp"
    dev = [steps(1, 50, 28), SEED, guidance(1, 20, 3.5), count()]
    dev += [CHECKER, file_format(two_formats, "jpeg"), acceleration("none"), SYNC]
    strength = number("strength", 0.01, 1, 0.95, "How far to go from the picture: 1 is farthest.")
    kontext = [ratio(KONTEXT_RATIOS, None), guidance(1, 20, 3.5), count()]
    kontext += [file_format(two_formats, "jpeg"), tolerance(6, "2"), ENHANCE, SEED, SYNC]
    two = [steps(4, 50, 28), guidance(0, 20, 2.5), count(), acceleration("regular"), EXPAND]
    two += [CHECKER, file_format(three_formats, "png"), SEED, SYNC]
    one, several = image("The picture to edit."), images("The pictures to edit or combine.")
    size_2 = size("landscape_4_3", help="A preset, or a width and height of 512 to 2048.")
    id, k, edit = "fal-ai/flux", "fal-ai/flux-pro/kontext", "edit, one picture"
    return [
        model(
            f"{id}/dev", "flux-dev", "FLUX.1 [dev]", megapixel("0.025"), 3,
            "text to image, open weights",
            PROMPT, size("landscape_4_3"), *dev, as_of=READ_FLUX, edits_with=k,
        ),
        model(
            f"{id}-1/dev", "flux-1-dev", "FLUX.1 [dev], newer route", megapixel("0.025"), 3,
            "text to image, open weights",
            PROMPT, size("landscape_4_3"), *dev,
            providers=KKIAI, as_of=READ_FLUX, edits_with=f"{id}-1/dev/image-to-image",
        ),
        model(
            f"{id}-1/dev/image-to-image", "flux-1-dev-edit", "FLUX.1 [dev] from a picture",
            megapixel("0.03"), 3, edit,
            EDIT_PROMPT, image("The picture to start from."), strength, *dev,
            providers=KKIAI, as_of=READ_FLUX,
        ),
        model(
            k, "kontext", "FLUX.1 Kontext [pro]", each("0.04"), 7, edit,
            EDIT_PROMPT, one, *kontext, providers=KKIAI,
        ),
        model(
            f"{k}/max", "kontext-max", "FLUX.1 Kontext [max]", each("0.08"), 9, edit,
            EDIT_PROMPT, one, *kontext, providers=KKIAI,
        ),
        model(
            f"{k}/max/multi", "kontext-multi", "FLUX.1 Kontext [max], several", each("0.08"), 10,
            "edit, several pictures",
            EDIT_PROMPT, several, *kontext, providers=KKIAI,
        ),
        model(
            f"{id}-2", "flux-2", "FLUX.2 [dev]", megapixel("0.012"), 5,
            "text to image, open weights",
            PROMPT, size_2, *two, edits_with=f"{id}-2/edit",
        ),
        model(
            f"{id}-2/edit", "flux-2-edit", "FLUX.2 [dev] Edit", megapixel("0.012"), 7,
            "edit, several pictures",
            EDIT_PROMPT, images("The pictures to edit; the first four are used.", 4),
            size_2 | {"default": None}, *two,
        ),
        model(
            f"{id}-2-pro", "flux-2-pro", "FLUX.2 [pro]",
            {"per": "megapixel", "amount": "0.03", "further": "0.015"}, 8, "text to image",
            PROMPT, size("landscape_4_3"), tolerance(5, "2"), file_format(two_formats, "jpeg"),
            CHECKER, SEED, SYNC, edits_with=f"{id}-2/edit",
        ),
    ]  # fmt: skip


def qwen() -> list[Data]:
    turbo = switch("use_turbo", None, "Fewer steps, with a LoRA for speed.")
    return [
        model(
            "fal-ai/qwen-image", "qwen-image", "Qwen Image", megapixel("0.02"), 6,
            "text to image, text in pictures",
            PROMPT, size("landscape_4_3"), steps(2, 250, 30), guidance(0, 20, 2.5),
            NEGATIVE | {"default": " "}, count(), acceleration("none"), turbo, LORAS,
            file_format("jpeg png", "png"), CHECKER, SEED, SYNC,
            edits_with="fal-ai/qwen-image-edit-2511",
        ),
        model(
            "fal-ai/qwen-image-edit-2511", "qwen-image-edit", "Qwen Image Edit 2511",
            megapixel("0.03"), 8, "edit, several pictures",
            EDIT_PROMPT, images("The pictures to edit."),
            size(None, help="A preset, or width and height; without one, the input's size."),
            steps(1, 50, 28), guidance(1, 20, 4.5), NEGATIVE, count(), acceleration("regular"),
            file_format("jpeg png webp", "png"), SEED, SYNC,
        ),
    ]  # fmt: skip


def seedream() -> list[Data]:
    base, edit = "fal-ai/bytedance/seedream", "edit, several pictures"
    square = {"width": 2048, "height": 2048}
    numbers = [count(6), MAX_IMAGES, SEED]
    auto_4, auto_45 = "auto auto_2K auto_4K", "auto_2K auto_4K"
    ten = images("The pictures to edit; of more than ten, the last ten are used.", 10)
    return [
        model(
            f"{base}/v4/text-to-image", "seedream-4", "Seedream 4", each("0.03"), 10,
            "text to image",
            PROMPT, size(square, auto_4), *numbers, MODE, CHECKER, SYNC,
            edits_with=f"{base}/v4/edit",
        ),
        model(
            f"{base}/v4/edit", "seedream-4-edit", "Seedream 4 Edit", each("0.03"), 12,
            edit,
            EDIT_PROMPT, ten, size(square, auto_4), *numbers, MODE, CHECKER, SYNC,
        ),
        model(
            f"{base}/v4.5/text-to-image", "seedream-4.5", "Seedream 4.5", each("0.04"),
            12, "text to image",
            PROMPT, size(square, auto_45), *numbers, CHECKER, SYNC, edits_with=f"{base}/v4.5/edit",
        ),
        model(
            f"{base}/v4.5/edit", "seedream-4.5-edit", "Seedream 4.5 Edit", each("0.04"),
            14, edit,
            EDIT_PROMPT, ten, size(square, auto_45), *numbers, CHECKER, SYNC,
        ),
    ]  # fmt: skip


def design() -> list[Data]:
    style = choice("style", "AUTO GENERAL REALISTIC DESIGN", None, "The manner of the picture.")
    preset = choice("style_preset", IDEOGRAM_PRESETS, None, "A style that is ready made.")
    codes = field("style_codes", "words", "Codes of eight hex digits for styles; not with a style.")
    palette = field("color_palette", "json", "Colours to keep to: a name, or members with rgb.")
    expand = switch("expand_prompt", True, "Let the model write the prompt out.")
    references = images(
        "Pictures whose style to follow; 10 MB in all.", required=False, role="",
        title="Style pictures",
        limits={"max_bytes": 10_000_000},
    )  # fmt: skip
    styles = ["any", *RECRAFT_STYLES]
    styles += [f"{k}/{word}" for k, words in RECRAFT_STYLES.items() for word in words.split()]
    recraft = choice(
        "style", " ".join(styles), "realistic_image", "Vector styles give an SVG and cost twice."
    )
    weights = [
        field(name, "json", help)
        for name, help in (
            ("controlnet", "A ControlNet: path, control image, scale."),
            ("ip_adapter", "An IP-Adapter: path, image, scale."),
        )
    ]
    v3 = "fal-ai/ideogram/v3"
    return [
        model(
            v3, "ideogram-3", "Ideogram 3", IDEOGRAM_PRICE, 10,
            "text to image, text in pictures, design",
            PROMPT, size("square_hd"), SPEED, style, preset, codes, expand, palette, references,
            NEGATIVE, count(8), SEED, SYNC, edits_with=f"{v3}/edit",
        ),
        model(
            f"{v3}/edit", "ideogram-3-edit", "Ideogram 3 Edit", IDEOGRAM_PRICE, 12, "edit, mask",
            EDIT_PROMPT, image("The picture to edit."), mask("mask_url", required=True), SPEED,
            preset, codes, expand, palette, references, count(8), SEED, SYNC,
        ),
        model(
            "fal-ai/recraft/v3/text-to-image", "recraft-3", "Recraft 3", RECRAFT_PRICE, 10,
            "text to image, vector, design",
            PROMPT, size("square_hd"), recraft,
            field("colors", "json", "Colours to prefer: a list of objects of r, g and b."),
            field("style_id", "text", "The id of a style of your own; not with a style."), CHECKER,
        ),
        model(
            "fal-ai/stable-diffusion-v35-large", "sd-3.5", "Stable Diffusion 3.5 Large",
            megapixel("0.065"), 6, "text to image, open weights",
            PROMPT, size("landscape_4_3"), steps(1, 50, 28), guidance(0, 20, 3.5), NEGATIVE,
            count(),
            file_format("jpeg png", "jpeg"), *weights, LORAS, CHECKER, SEED, SYNC,
        ),
        model(
            "xai/grok-imagine-image", "grok-image", "Grok Imagine", GROK_PRICE, 8, "text to image",
            PROMPT, count(), ratio(GROK_RATIOS, "1:1"), resolution("1k 2k", "1k"),
            file_format("jpeg png webp", "jpeg"), SYNC,
        ),
    ]  # fmt: skip


def gpt_on_fal() -> list[Data]:
    formats, auto = (
        file_format("jpeg png webp", "png"),
        choice("quality", "auto low medium high", "auto", **QUALITY),
    )
    high = choice("quality", "low medium high", "high", **QUALITY)
    any_high = choice("quality", "auto low medium high", "high", **QUALITY)
    q, id, two = "quality image_size", "fal-ai/gpt-image-1.5", "openai/gpt-image-2"
    several = images("The pictures to edit or combine.")
    limits = "A preset, or sides that are multiples of 16, at most 3840, no longer than 3:1."
    tags, edit = "text to image, text in pictures", "edit, several pictures, mask"
    return [
        model(
            "fal-ai/gpt-image-1/text-to-image", "gpt-image-1", "GPT Image 1", gpt_table(q,
            *GPT_1_PRICE), 40, tags,
            PROMPT, string_size(f"auto {GPT_SIZES}", "auto"), auto, BACKGROUND, count(), formats,
            SYNC,
            edits_with=f"{id}/edit",
        ),
        model(
            id, "gpt-image-1.5", "GPT Image 1.5", gpt_table(q, *GPT_15_PRICE), 30, tags,
            PROMPT, string_size(GPT_SIZES, "1024x1024"), high, BACKGROUND, count(), formats, SYNC,
            edits_with=f"{id}/edit",
        ),
        model(
            f"{id}/edit", "gpt-image-1.5-edit", "GPT Image 1.5 Edit", gpt_table(q, *GPT_15_PRICE),
            35, edit,
            EDIT_PROMPT, several, mask("mask_image_url"), string_size(f"auto {GPT_SIZES}",
            "auto"), high,
            FIDELITY, BACKGROUND, count(), formats, SYNC,
        ),
        model(
            two, "gpt-image-2", "GPT Image 2", gpt_2_table(q), 40, tags,
            PROMPT, size("landscape_4_3", "auto", limits), any_high, BACKGROUND, count(), formats,
            SYNC,
            edits_with=f"{two}/edit",
        ),
        model(
            f"{two}/edit", "gpt-image-2-edit", "GPT Image 2 Edit", gpt_2_table(q), 45, edit,
            EDIT_PROMPT, images("The pictures to edit or combine.", 16), mask("mask_url"),
            size("auto", "auto", limits), any_high, count(), formats, SYNC,
        ),
    ]  # fmt: skip


def gpt_at_openai() -> list[Data]:
    quality = choice("quality", "auto low medium high", "auto", **QUALITY)
    common = [
        quality,
        BACKGROUND,
        count(10, "n"),
        file_format("png jpeg webp", "png"),
        whole("output_compression", 0, 100, 100, "For jpeg and webp: lower is smaller."),
        choice("moderation", "auto low", "auto", "How strict the content checker is."),
        images("Pictures to edit or combine.", 16, required=False, name="image"),
        mask("mask"),
        FIDELITY | {"default": "low"},
    ]
    custom = {"kind": "size", "text_size": True, "help": "A preset, or multiples of 16 up to 3840."}
    sizes = string_size(f"auto {GPT_SIZES}", "auto", "size")
    tags = "text to image, edit, several pictures, mask, text in pictures"
    at_openai: Data = {"provider": "openai", "providers": OPENAI, "as_of": READ_OPENAI}
    table = gpt_table("quality size", *GPT_1_PRICE), gpt_table("quality size", *GPT_15_PRICE)
    return [
        model("gpt-image-1", "gpt-image-1", "GPT Image 1", table[0], 40, tags, PROMPT, sizes,
        *common, **at_openai),
        model("gpt-image-1.5", "gpt-image-1.5", "GPT Image 1.5", table[1], 30, tags, PROMPT,
        sizes, *common, **at_openai),
        model(
            "gpt-image-2", "gpt-image-2", "GPT Image 2", gpt_2_table("quality size"), 40, tags,
            PROMPT, sizes | custom | {"allowed": GPT_2_SIZES.split()}, *common, **at_openai,
        ),
    ]  # fmt: skip


def bundle() -> str:
    """Return the file's text: JSON with a model on each line."""
    models = [*imagen(), *nano_banana(), *flux(), *qwen(), *seedream(), *design()]
    models += [*gpt_on_fal(), *gpt_at_openai()]
    for entry in models:
        entry["fields"] = [_without_blanks(field) for field in entry["fields"]]
    lines = ",\n".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in models)
    return f'{{"models":[\n{lines}\n]}}\n'


def _without_blanks(field: Data) -> Data:
    """Return what cannot be left out: a title is made of the name if it is missing."""
    field = {k: v for k, v in field.items() if v is not None and (v != "" or k == "default")}
    if field["title"] == field["name"].replace("_", " ").capitalize():
        del field["title"]
    return field


if __name__ == "__main__":
    FILE.write_text(bundle(), encoding="utf-8")
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")
