// OpenAI's SDK for JavaScript: the Responses API and Chat Completions.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 2, timeout: 20_000 });
const parameters = { type: "object", properties: { a: { type: "integer" }, b: { type: "integer" } } };
const sum = (text) => Object.values(JSON.parse(text)).reduce((a, b) => a + b);
const status = (promise) => promise.then(() => null, (error) => error.status);

async function responses() {
  const stream = client.responses.stream({ model: "m", input: "text" });
  let text = "", reasoning = "";
  stream.on("response.output_text.delta", (event) => { text += event.delta; });
  stream.on("response.reasoning_text.delta", (event) => { reasoning += event.delta; });
  const made = await stream.finalResponse();
  const tools = [{ type: "function", name: "add", parameters, strict: false }, { type: "web_search" }];
  const input = [{ role: "user", content: "tools" }];
  const called = await client.responses.stream({ model: "m", input, tools }).finalResponse();
  const call = called.output.find((item) => item.type === "function_call");
  input.push(...called.output, { type: "function_call_output", call_id: call.call_id, output: `${sum(call.arguments)}` });
  return {
    text: made.output_text,
    stream: text,
    reasoning,
    tools: (await client.responses.create({ model: "m", input, tools })).output_text,
    error: await status(client.responses.create({ model: "m", input: "fail", stream: true })),
  };
}

async function chat() {
  const ask = (messages, more) => client.chat.completions.create({ model: "m", messages, ...more });
  const said = [{ role: "user", content: "text" }];
  let text = "", reasoning = "";
  for await (const chunk of await ask(said, { stream: true })) {
    text += chunk.choices[0].delta.content ?? "";
    reasoning += chunk.choices[0].delta.reasoning_content ?? "";
  }
  const tools = [{ type: "function", function: { name: "add", parameters } }];
  const messages = [{ role: "user", content: "tools" }];
  const called = (await client.chat.completions.stream({ model: "m", messages, tools }).finalChatCompletion()).choices[0].message;
  const call = called.tool_calls[0];
  messages.push(called, { role: "tool", tool_call_id: call.id, content: `${sum(call.function.arguments)}` });
  return {
    text: (await ask(said)).choices[0].message.content,
    stream: text,
    reasoning,
    tools: (await ask(messages, { tools })).choices[0].message.content,
    error: await status(ask([{ role: "user", content: "fail" }], { stream: true })),
  };
}

console.log(JSON.stringify({ responses: await responses(), chat: await chat() }));
