// Calls each route by the types that openapi-typescript writes, and prints the answers.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { argv: string[] };

const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });
const answers: unknown[] = [];
const id = "00000000-0000-0000-0000-000000000007";
const day = "2026-01-31";
const thing = { name: "cup", made: day };

const query = { day, tags: ["a", "b c"] };
const found = await client.GET("/things/{id}/{color}", { params: { path: { id, color: "blue" }, query } });
answers.push(found.data satisfies string[] | undefined);
const few = await client.GET("/things/{id}/{color}", {
  params: { path: { id, color: "red" }, query: { ...query, most: 3 } },
});
answers.push(few.data);

const created = await client.POST("/things", { body: thing });
answers.push([created.response.status, created.data]);
answers.push((await client.PUT("/things/{id}", { params: { path: { id: 7 } }, body: thing })).data);
answers.push((await client.PATCH("/things/{id}", { params: { path: { id: 7 } }, body: { color: "blue" } })).data);
answers.push((await client.DELETE("/things/{id}", { params: { path: { id: 7 }, query: { reason: "old" } } })).data);

const picture = new File(["abc"], "a.png", { type: "image/png" });
const sent = await client.POST("/things/{id}/pictures", {
  params: { path: { id: 7 } },
  body: { title: "cup", picture: picture as unknown as string },
  bodySerializer(body) {
    const form = new FormData();
    form.append("title", body.title);
    form.append("picture", picture);
    return form;
  },
});
answers.push(sent.data satisfies string | undefined);

const refused = await client.GET("/things/{id}/{color}", {
  // @ts-expect-error: no such color
  params: { path: { id, color: "green" }, query },
});
answers.push([refused.response.status, refused.error?.code]);
console.log(JSON.stringify(answers));
