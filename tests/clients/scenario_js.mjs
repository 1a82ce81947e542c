// What a program does with @huggingface/hub, whole: run by test_js.py with node, one line per step as stepping.py has it.
// The library is found through CLIENT_HOME, since this file does not lie beside its node_modules.
import { createHash, randomBytes } from "node:crypto";
import { pathToFileURL } from "node:url";

const { HF_ENDPOINT: hubUrl, HF_TOKEN: accessToken, STRANGER_TOKEN, CLIENT_HOME } = process.env;
const hub = await import(pathToFileURL(`${CLIENT_HOME}/node_modules/@huggingface/hub/dist/index.mjs`).href);
const common = { hubUrl, accessToken };
const repo = "alice/js";
const sha256 = (bytes) => createHash("sha256").update(Buffer.from(bytes)).digest("hex");
const check = (holds, what) => {
	if (!holds) {
		throw new Error(JSON.stringify(what).slice(0, 2000));
	}
};
const collect = async (items) => {
	const all = [];
	for await (const item of items) {
		all.push(item);
	}
	return all;
};
const fails = async (promise, status) => {
	let failure;
	try {
		await promise;
	} catch (error) {
		failure = error;
	}
	check(failure?.statusCode === status, `wanted status ${status}, got ${failure?.statusCode ?? "no error"} ${failure}`);
};
const big = randomBytes(5_000_000);
const bigger = randomBytes(1_500_000);

const steps = {
	async who_am_i() {
		const me = await hub.whoAmI(common);
		check(me.name === "alice" && me.type === "user", me);
		await fails(hub.whoAmI({ hubUrl, accessToken: "hf_wrongwrongwrong" }), 401);
	},
	async create_a_repo() {
		const { repoUrl, id } = await hub.createRepo({ ...common, repo });
		check(repoUrl === `${hubUrl}/${repo}`, { repoUrl, id });
		await fails(hub.createRepo({ ...common, repo }), 409);
		check((await hub.repoExists({ ...common, repo })) && !(await hub.repoExists({ ...common, repo: "alice/no" })), "exists");
	},
	async upload_by_xet() {
		await hub.uploadFiles({
			...common,
			repo,
			commitTitle: "From JavaScript",
			files: [
				{ path: "big.bin", content: new Blob([big]) },
				{ path: "notes/naïve file.txt", content: new Blob(["naïve\n"]) },
				{ path: "empty.txt", content: new Blob([]) },
			],
		});
	},
	async upload_by_lfs() {
		await hub.uploadFile({ ...common, repo, useXet: false, file: { path: "lfs.bin", content: new Blob([bigger]) } });
	},
	async list_the_files() {
		const files = await collect(hub.listFiles({ ...common, repo, recursive: true, expand: true }));
		const byPath = Object.fromEntries(files.map((file) => [file.path, file]));
		check(byPath["big.bin"].size === big.length && byPath["big.bin"].lfs.oid === sha256(big), byPath["big.bin"]);
		check(byPath["lfs.bin"].lfs.oid === sha256(bigger), byPath["lfs.bin"]);
		check(byPath["notes/naïve file.txt"].size === 7 && byPath["notes"].type === "directory", files);
	},
	async paths_info() {
		const found = await hub.pathsInfo({ ...common, repo, paths: ["big.bin", "missing"] });
		check(found.length === 1 && found[0].lfs.oid === sha256(big), found);
	},
	async download_every_way() {
		for (const [path, content] of [["big.bin", big], ["lfs.bin", bigger]]) {
			for (const xet of [true, false]) {
				const blob = await hub.downloadFile({ ...common, repo, path, xet });
				check(sha256(await blob.arrayBuffer()) === sha256(content), `${path}, xet ${xet}`);
				const part = await blob.slice(123_456, 234_567).arrayBuffer();
				check(sha256(part) === sha256(content.subarray(123_456, 234_567)), `${path}, part, xet ${xet}`);
			}
		}
		const text = await hub.downloadFile({ ...common, repo, path: encodeURI("notes/naïve file.txt") });
		check((await text.text()) === "naïve\n", "text");
		check((await hub.downloadFile({ ...common, repo, path: "missing" })) === null, "a missing file is null");
	},
	async the_raw_file_is_the_pointer() {
		const pointer = await (await hub.downloadFile({ ...common, repo, path: "big.bin", raw: true })).text();
		check(pointer.includes(`oid sha256:${sha256(big)}`), pointer.slice(0, 200));
	},
	async branches_and_commits() {
		await hub.createBranch({ ...common, repo, branch: "dev" });
		await hub.uploadFile({ ...common, repo, branch: "dev", file: { path: "dev.txt", content: new Blob(["dev"]) } });
		check(await hub.fileExists({ ...common, repo, revision: "dev", path: "dev.txt" }), "dev.txt on dev");
		check(!(await hub.fileExists({ ...common, repo, path: "dev.txt" })), "dev.txt on main");
		await hub.deleteBranch({ ...common, repo, branch: "dev" });
		const commits = await collect(hub.listCommits({ ...common, repo }));
		check(commits.at(-1).title === "initial commit" && commits.some((c) => c.title === "From JavaScript"), commits);
		const count = await hub.countCommits({ ...common, repo, revision: "main" });
		check(count === commits.length, `${count} counted, ${commits.length} listed`);
	},
	async edit_and_delete() {
		await hub.deleteFile({ ...common, repo, path: "empty.txt" });
		check(!(await hub.fileExists({ ...common, repo, path: "empty.txt" })), "empty.txt is gone");
		await fails(hub.uploadFile({ ...common, accessToken: STRANGER_TOKEN, repo, file: { path: "x", content: new Blob(["x"]) } }), 403);
	},
	async list_models() {
		const models = await collect(hub.listModels({ ...common, search: { owner: "alice", query: "js" } }));
		check(models.some((model) => model.name === repo), models);
		check((await hub.modelInfo({ ...common, name: repo })).name === repo, "model info");
	},
	async a_data_set() {
		const designation = { type: "dataset", name: "alice/js-data" };
		await hub.createRepo({ ...common, repo: designation, private: true });
		await hub.uploadFile({ ...common, repo: designation, file: { path: "a b.csv", content: new Blob(["a,b\n"]) } });
		check((await (await hub.downloadFile({ ...common, repo: designation, path: "a%20b.csv" })).text()) === "a,b\n", "csv");
		await fails(hub.datasetInfo({ hubUrl, name: "alice/js-data" }), 401);
		await hub.deleteRepo({ ...common, repo: designation });
		check(!(await hub.repoExists({ ...common, repo: designation })), "the data set is gone");
	},
};

for (const name of Object.keys(steps)) {
	console.log(`plan ${name}`);
}
let failures = 0;
for (const [name, step] of Object.entries(steps)) {
	try {
		await step();
		console.log(`ok ${name}`);
	} catch (error) {
		failures += 1;
		console.log(`FAIL ${name}\n${error.stack}\n${JSON.stringify(error.data ?? {})} ${error.url ?? ""}`);
	}
}
process.exit(failures ? 1 : 0);
