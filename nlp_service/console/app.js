"use strict";

const DECISIONS = {
  auto: "Chuyển thẳng",
  suggest: "Chọn trong các gợi ý",
  human: "Cần người đọc",
};

const percent = new Intl.NumberFormat("vi-VN", { style: "percent", maximumFractionDigits: 0 });
const element = (id) => document.getElementById(id);

function show(scored) {
  return `${scored.name} (${percent.format(scored.probability)})`;
}

function fill(list, texts) {
  list.replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function render(result) {
  for (const head of ["category", "urgency", "petition_type"]) element(head).textContent = show(result[head]);
  element("decision").textContent = DECISIONS[result.decision];
  element("decision").dataset.zone = result.decision;
  element("alarm").hidden = result.urgency.id !== "emergency";
  fill(element("candidates"), [result.category, ...result.alternatives].map(show));
  fill(element("reasons"), result.reasons.map((reason) => reason.message));
  const windows = result.windows > 1 ? ` Đơn dài, đọc trọn trong ${result.windows} đoạn.` : "";
  element("source").textContent =
    `Mô hình ${result.model_version}, bảng phân loại ${result.taxonomy_version}.${windows}`;
  element("answer").hidden = false;
}

function explain(status, body) {
  const kind = body?.error?.kind;
  if (kind === "empty_text") return "Chưa có nội dung: hãy nhập ít nhất một chữ.";
  if (kind === "text_too_long" || kind === "body_too_large") return "Đơn quá dài: hãy chia thành nhiều phần.";
  if (status === 401 || status === 403) return "Dịch vụ cần khóa API: hãy nhập khóa rồi gửi lại. Nội dung vẫn còn trong ô.";
  if (status === 429) return "Hệ thống đang bận: thử lại sau vài giây.";
  return `Không phân loại được (mã ${status}). Thử lại, nếu vẫn lỗi hãy báo quản trị viên.`;
}

async function classify(event) {
  event.preventDefault();
  const state = element("state");
  const key = element("key");
  const button = event.target.querySelector("button");
  button.disabled = true;
  state.textContent = "Đang đọc…";
  try {
    const response = await fetch("../v1/classify", {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(key.value && { Authorization: `Bearer ${key.value}` }) },
      body: JSON.stringify({ text: element("text").value }),
    });
    const body = await response.json().catch(() => null);
    // The key is asked for only where one is needed, and kept in the field alone.
    if (response.status === 401 || response.status === 403) element("key-row").hidden = false;
    if (response.ok) render(body);
    else element("answer").hidden = true;
    state.textContent = response.ok ? "" : explain(response.status, body);
  } catch {
    state.textContent = "Mất kết nối tới máy chủ. Nội dung vẫn còn trong ô, hãy thử lại.";
  } finally {
    button.disabled = false;
  }
}

element("form").addEventListener("submit", classify);
element("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element("form").requestSubmit();
});
