"""The text of coupon_card.md, from the figures of coupon_metrics.json."""

from typing import Any

MODEL, OWN = "model", "own purchases, 84 days"
LOWEST, HIGHEST = 0.8, 1.25  # expected over real: between these the calibration is called good
FEATURES = {
    "own_times_84": "times the household bought a product of the coupon in the 84 days before the campaign",
    "own_times": "times it did so in the 168 days before",
    "own_recent": "the same, each purchase counted half after every 28 days",
    "own_days_since": "days since it last bought a product of the coupon",
    "own_products": "how many of the coupon's products it bought",
    "own_top_times_84": "times it bought the one it bought most, 84 days",
    "own_spend_84": "US dollars that it spent on the coupon's products, 84 days",
    "own_coupon_lines": "times it bought a product of the coupon with a coupon, 168 days",
    "own_times_per_trip": "own_times_84 / trips in 84 days",
    "own_rank": "rank of the coupon among its coupons of the campaign by own_recent",
    "type_times_84": "times it bought a product of the coupon's product types, 84 days",
    "type_days_since": "days since it last bought a product of these types",
    "own_share_of_type": "share of the coupon's products in what it bought of these types",
    "household_trips_84": "baskets of the household in 84 days",
    "household_spend_84": "US dollars that it spent in all, 84 days",
    "household_discount": "share of its full prices that the loyalty card took off, 84 days",
    "household_coupon_lines_84": "its receipt lines with a coupon, 84 days",
    "household_coupon_lines": "its receipt lines with a coupon, 168 days",
    "household_redeemed": "coupons it redeemed in the 168 days before",
    "household_redeemed_ago": "days since its last redemption",
    "coupon_products": "products that the coupon is good for",
    "campaign_coupons": "coupons of the campaign",
    "coupon_buyers_84": "households that bought one of its products in 84 days",
    "coupon_times_per_buyer": "purchases a buyer, 84 days",
    "coupon_price": "US dollars a unit sold",
    "coupon_retail_discount": "the same share of the coupon's products, all households",
    "coupon_lines": "receipt lines of its products with a coupon, 168 days",
    "coupon_discount": "mean US dollars off such a line",
    "campaign_days": "days that the campaign lasts",
}

CARD = """# Coupon response

The chance that a household redeems a coupon within its campaign: one row per household, campaign and coupon
in, one number from 0 to 1 out. Written by `train_coupons.py`; the figures are those of
`coupon_metrics.json`.

- **For**: the job `coupon_response`, which publishes chance and expected cost of each coupon of the running
  campaigns.
- **Model**: LightGBM, {trees} trees of {leaves} leaves, binary log loss; ONNX, {bytes:,} bytes, with one
  input `features` (float32 [N, {columns}], missing = NaN) and the output `probabilities` (float32 [N, 2],
  the second column).
- **Data**: The Complete Journey (84.51°), 2017: 27 campaigns, 2,102 redemptions. See `data/README.md`.
- **Trained on** the campaigns {campaigns}, which ended by 2017-09-24: {pairs:,} pairs, {redeemed:,} of them
  redeemed. All features are of before a campaign's first day; the label is a redemption within the
  campaign.
- **Settings** were chosen by leaving out campaigns among these; nothing was tuned on the campaigns below.
- **Not for**: what a coupon *causes*. There is no random control group in this data, so uplift can't be
  measured and is not claimed: who redeems might have bought anyway. Nor for other shops, or for statements
  about a person.

**Read this first**: in a campaign of type A each household got 16 of some 209 coupons, chosen by its
purchases; which ones is not recorded. A pair that was never sent can't be redeemed and counts as a failure
here. So all figures are conditional on who was offered what, and the model has learnt the old choice
together with the answer to it: it flatters lists that resemble the choice of then, its own and that of own
purchases alike.

## How good it is

{groups}

- AUC and AP (average precision) over all pairs; *best {best:,}* are the redemptions among the {best:,} pairs
  of highest score; *best 16* and *best 5* the share of redemptions that are among a household's best. A
  campaign of type B or C has 11 to 24 coupons, so there 16 is nearly all, and says little.
- *own purchases* counts how often the household bought the coupon's products in the 84 days before;
  *buyers* the households that did so.
- On campaign 18 the best {best:,} pairs hold **{times:.2f} times** the redemptions of own purchases; AP
  {ap:.3f}. The goals were 1.5 and 0.09.
- {within}

## Expected and real

The job multiplies scores by a factor of the campaign's type: redemptions in the training campaigns over
what was expected there by trees that had not seen the campaign ({left_out}).

| campaign type | expected, training | redeemed | factor |
|---|---|---|---|
{factors}

A type with fewer than {enough} redemptions in training has no row and takes that of *all*. On the campaigns
of the figures, after calibration:

| | pairs | redeemed | expected | ratio | before calibration | cost, USD | expected cost | ratio |
|---|---|---|---|---|---|---|---|---|
{calibration}

- {verdict}
- Campaigns 20 and 22 last until 2018, and the data ends on 2017-12-31: what was redeemed later is missing,
  so for them more is expected than can be found. Campaign 20 is all there is of type C.
- Cost is `coupon_disc` on the coupon's products, on the day and by the household of the redemption. Only
  {with_receipt:,} of {all_redeemed:,} redemptions have such a line; of the others the cost is not known,
  and the mean discount that was expected stands in for it, which draws the ratio of the costs towards that
  of the redemptions.

## What it looks at

Share of the gain in training:

| feature | share | |
|---|---|---|
{features}
"""


def coupon_card(metrics: dict[str, Any], size: int) -> str:
    """The card as Markdown; `size` is that of the model, in bytes."""
    training, main = metrics["training"], next(iter(metrics["groups"].values()))["rankings"]
    by_type = metrics["calibration"].values()
    return CARD.format(
        trees=training["trees"],
        leaves=training["parameters"]["num_leaves"],
        bytes=size,
        columns=len(training["share_of_gain"]),
        campaigns=f"{training['campaigns'][0]} to {training['campaigns'][-1]}",
        pairs=training["pairs"],
        redeemed=training["redeemed"],
        best=metrics["best"],
        groups="\n\n".join(_group(name, group) for name, group in metrics["groups"].items()),
        times=main[MODEL]["within_best"] / main[OWN]["within_best"],
        ap=main[MODEL]["ap"],
        within=_within(metrics["groups"]),
        left_out=", ".join("+".join(map(str, some)) for some in training["left_out"]),
        enough=training["enough"],
        factors="\n".join(
            f"| {one['campaign_type']} | {one['expected']:.0f} | {one['redeemed']} | {one['factor']:.3f} |"
            for one in metrics["factors"]
        ),
        calibration="\n".join(_calibrated(metrics)),
        verdict=_verdict(metrics["calibration"]),
        with_receipt=sum(one["with_a_receipt"] for one in by_type),
        all_redeemed=sum(one["redeemed"] for one in by_type),
        features="\n".join(
            f"| `{name}` | {share:.1%} | {FEATURES[name]} |"
            for name, share in sorted(training["share_of_gain"].items(), key=lambda one: -one[1])
        ),
    )


def _group(name: str, group: dict[str, Any]) -> str:
    lines = [
        f"Campaigns {name}: {group['pairs']:,} pairs of {group['households']:,} households, "
        f"{group['redeemed']} redeemed.",
        "",
        "| ranked by | AUC | AP | in the best 5,000 | in a household's best 16 | best 5 |",
        "|---|---|---|---|---|---|",
        *(
            f"| {ranking} | {one['auc']:.3f} | {one['ap']:.3f} | {one['within_best']} "
            f"| {one['within_16']:.1%} | {one['within_5']:.1%} |"
            for ranking, one in group["rankings"].items()
        ),
    ]
    return "\n".join(lines)


def _within(groups: dict[str, Any]) -> str:
    told = []
    for places in (16, 5):
        shares = [
            [group["rankings"][name][f"within_{places}"] for name in (MODEL, OWN)]
            for group in groups.values()
        ]
        points = " and ".join(f"{100 * (ours - own):+.1f}" for ours, own in shares)
        told.append(f"{points} points within the best {places}")
    return f"Within a household the lead over own purchases is: {', '.join(told)}, group by group."


def _calibrated(metrics: dict[str, Any]) -> list[str]:
    campaigns = {f"campaign {number}": one for number, one in metrics["campaigns"].items()}
    return [
        f"| {name} | {one['pairs']:,} | {one['redeemed']} | {one['expected']:.1f} "
        f"| {one['expected_over_redeemed']:.2f} | {one['uncalibrated']:.1f} | {one['cost']:,.2f} "
        f"| {one['expected_cost']:,.2f} | {one['expected_cost_over_cost']:.2f} |"
        for name, one in {**metrics["calibration"], **campaigns}.items()
    ]


def _verdict(calibration: dict[str, Any]) -> str:
    """Which campaign types are within the goal, and which are not, in words."""
    ratios = {
        kind: (one["expected_over_redeemed"], one["expected_cost_over_cost"])
        for kind, one in calibration.items()
    }
    good = [kind for kind, some in ratios.items() if all(LOWEST <= ratio <= HIGHEST for ratio in some)]
    bad = [kind for kind in ratios if kind not in good]
    told = f"The goal was {LOWEST} to {HIGHEST}, of redemptions and of cost. Within it: "
    return f"{told}{', '.join(good) or 'none'}." + (f" **Not within it: {', '.join(bad)}.**" if bad else "")
