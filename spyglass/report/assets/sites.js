// The page of a heap, block or mutex profile: several numbers for each stack, of which one is shown.

class Sites extends Profile {
  constructor(data) {
    super({ ...data, groupings: [], rows: { leaf: data.rows.leaf, value_ns: [] } });
    this.kinds = data.kinds;
    this.amounts = data.rows.amounts;
    this.choose(0);
  }

  /** Show the numbers of kind `index`. */
  choose(index) {
    this.unit = this.kinds[index];
    this.values = this.amounts[index];
  }

  amountText(amount) {
    return unitText(this.unit, amount);
  }
}

const SIZE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** An amount of `unit`: "1.5 MiB", "12.3 ms", "1,234". */
function unitText(unit, amount) {
  if (unit === "bytes") return sizeText(amount);
  if (unit === "nanoseconds") return amount < 0 ? `-${secondsText(-amount)}` : secondsText(amount);
  return unit === "ticks" ? `${countText(amount)} ticks` : countText(amount);
}

function sizeText(bytes) {
  let value = bytes;
  let unit = 0;
  for (; Math.abs(value) >= 1023.95 && unit < SIZE_UNITS.length - 1; unit++) value /= 1024;
  return `${unit ? value.toFixed(1) : countText(value)} ${SIZE_UNITS[unit]}`;
}

class SitesView extends ProfileView {
  offerGroupings() {}

  offerValues() {}

  get grouping() {
    return null;
  }

  get group() {
    return NONE;
  }

  show() {
    this.profile.choose(Number(this.form.elements.kind.value));
    super.show();
  }
}
