package documented

import (
	"fmt"
	"strings"

	"mollymawk.dev/operator/internal/httpapi/apitest"
)

// Cases gives all statements of the document, in its order.
func Cases() []Case {
	var all []Case
	for _, list := range [][]Case{
		loginCases(), listCases(), createCases(), targetCases("Destroy a Unikernel", "/api/unikernel/destroy", "destroyed unikernel"),
		targetCases("Restart a Unikernel", "/api/unikernel/restart", "created unikernel"), consoleCases(),
		volumeCases("Create a block device", "/api/volume/create"), volumeDeleteCases(), volumeCases("Upload Data to a block device", "/api/volume/upload"),
		downloadCases(), tokenCases(), retryCases(),
	} {
		all = append(all, list...)
	}
	return all
}

func loginCases() []Case {
	const s = "Authentication"
	const text = "This account does not exist."
	return []Case{
		{Section: s, Status: 200, Text: "success", Ask: login("user@example.com", "password123"), Data: `{"name":"user","email":"user@example.com","email_verified":null,` +
			`"password":"<hidden>","uuid":"{user-uid}","tokens":[{"token_type":"Bearer","value":"{user-token}","expires_in":86400,"created_at":"2025-12-09 05:12:11-00:00",` +
			`"last_access":"2025-12-09 05:12:11-00:00","name":"ci","usage_count":0}],"cookies":[…],"created_at":"2025-12-09 05:12:11-00:00","updated_at":"2025-12-09 05:12:11-00:00",` +
			`"email_verification_uuid":null,"active":true,"super_user":false,"unikernel_updates":[],"scaling_policies":[]}`},
		{Section: s, Status: 400, Text: "All fields must be filled.", Ask: login("", "password123"), Data: "All fields must be filled."},
		{Section: s, Status: 400, Text: "Invalid email address.", Ask: login("nope", "password123"), Data: "Invalid email address."},
		{Section: s, Status: 400, Text: "Password must be at least 8 characters long.", Ask: login("user@example.com", "short"), Data: "Password must be at least 8 characters long."},
		{Section: s, Status: 400, Text: text, Ask: login("nobody@example.com", "password123"), Data: text},
		{Section: s, Status: 400, Text: "This account is not active", Given: Inactive,
			Ask: login("user@example.com", "wrong-password"), Data: "This account is not active"},
		{Section: s, Status: 400, Text: "Invalid email or password.", Ask: login("user@example.com", "password124"), Data: "Invalid email or password."},
		{Section: s, Status: 500, Text: "May occur if there is a failure updating the user session in the storage backend.", Given: StoreBroken,
			Ask: login("user@example.com", "password123"), Data: "Storage error with an internal error (request …)"},
	}
}

func listCases() []Case {
	const s = "List unikernels"
	list := apitest.Ask{Path: "/api/unikernels"}
	return []Case{
		{Section: s, Status: 200, Text: "success", Given: Running, Ask: asUser(list), Title: "Unikernel Information",
			Data: `{"data":[[{"name":"hello-world","fail_behaviour":"quit","cpuid":0,"cpuids":[0],"memory":64,"block_devices":[],"network_interfaces":[],"arguments":[],` +
				`"numcpus":1,"linux_boot_partition":null}]],"errors":[]}`},
		{Section: s, Status: 400, Text: "Token value is not valid <token>", Ask: apitest.Ask{Path: "/api/unikernels", Bearer: Unknown},
			Data: "Token value is not valid " + Unknown},
		{Section: s, Status: 400, Text: "User account is deactivated", Given: Inactive, Ask: asUser(list), Data: "User account is deactivated"},
		{Section: s, Status: 500, Text: "May occur if the server encounters an unexpected error while aggregating results, though individual instance failures are generally handled gracefully within the `errors` field of a 200 OK response.",
			Given: CacheBroken, Ask: asUser(list), Data: "an internal error (request …)"},
	}
}

func createCases() []Case {
	const s = "Deploy a unikernel"
	form := func(changes map[string]any) apitest.Ask {
		return asUser(apitest.Ask{Path: "/api/unikernel/create", Form: CreateForm(changes)})
	}
	return []Case{
		{Section: s, Status: 200, Text: "success", Ask: form(nil), Data: "created unikernel"},
		{Section: s, Status: 400, Text: "One or more required fields are missing.", Ask: form(map[string]any{"molly_csrf": nil}), Data: "One or more required fields are missing."},
		{Section: s, Status: 400, Text: "Invalid unikernel arguments: ...", Ask: form(map[string]any{"unikernel_config": `{"cpuid":0,"memory":"16"}`}),
			Data: "Invalid unikernel arguments: memory must be an integer"},
		{Section: s, Status: 400, Text: "Error converting instance name: ...", Ask: form(map[string]any{"albatross_instance": "eu_west"}),
			Data: "Error converting instance name: " + LabelText},
		{Section: s, Status: 400, Text: "Error converting unikernel name: ...", Ask: form(map[string]any{"unikernel_name": "hello world"}),
			Data: "Error converting unikernel name: " + LabelText},
		{Section: s, Status: 404, Text: "Error finding albatross instance: ...", Ask: form(map[string]any{"albatross_instance": "nowhere"}),
			Data: "Error finding albatross instance: nowhere"},
		{Section: s, Status: 500, Text: "Albatross Query Error: ...", Given: HostAway, Ask: form(nil), Data: "Albatross Query Error: connection refused"},
		{Section: s, Status: 500, Text: "Albatross Response Error: ...", Given: Running, Ask: form(nil),
			Data: "Albatross Response Error: failure: Unikernel with same name is already running"},
		{Section: s, Status: 500, Text: "Albatross JSON Error: ...", Given: HostGarbled, Ask: form(nil),
			Data: "Albatross JSON Error: " + NotUnderstood},
	}
}

func targetCases(s, path, done string) []Case {
	at := func(body map[string]any) apitest.Ask { return asUser(apitest.Ask{Path: path, JSON: body}) }
	refusal := Case{Section: s, Status: 500, Text: "failure: ...", Ask: at(named("hello-world", "eu-west-2")), Data: "failure: destroy: not found"}
	if strings.HasPrefix(s, "Restart") {
		refusal.Text = "The response may also contain an error string directly from Albatross if the restart operation failed on the VMM side (e.g., unikernel not found)."
	}
	return []Case{
		{Section: s, Status: 200, Text: "success", Given: Running, Ask: at(named("hello-world", "eu-west-2")), Data: done},
		{Section: s, Status: 400, Text: "Couldn't find unikernel name in json", Ask: at(map[string]any{"name": "hello-world"}), Data: "Couldn't find unikernel name in json"},
		{Section: s, Status: 400, Text: "Error converting instance name: ...", Ask: at(named("hello-world", "a:b")), Data: "Error converting instance name: " + LabelText},
		{Section: s, Status: 400, Text: "Error converting unikernel name: ...", Ask: at(named("a/b", "eu-west-2")), Data: "Error converting unikernel name: " + LabelText},
		{Section: s, Status: 404, Text: "Error finding albatross instance: <instance_name>", Ask: at(named("hello-world", "nowhere")), Data: "Error finding albatross instance: nowhere"},
		{Section: s, Status: 500, Text: "Error querying albatross: ...", Given: HostAway, Ask: at(named("hello-world", "eu-west-2")), Data: "Error querying albatross: connection refused"},
		refusal,
	}
}

func consoleCases() []Case {
	const s = "Stream Unikernel Console"
	at := func(query string) apitest.Ask {
		return asUser(apitest.Ask{Path: "/api/unikernel/console?" + query, Headers: map[string]string{"Accept": "text/event-stream"}})
	}
	return []Case{
		{Section: s, Status: 200, Text: "success", Given: Printed, Ask: at("unikernel=hello-world&instance=eu-west-2"),
			Stream: `data:{"timestamp":"2023-10-27T10:05:00-00:00","line":"[INFO] Application started"}` + "\n\n" +
				`data:{"timestamp":"2025-12-08T17:45:30-00:00","line":"<b> & \"x\""}` + "\n\n"},
		{Section: s, Status: 400, Text: "Couldn't convert unikernel name: <error>", Ask: at("unikernel=a_b&instance=eu-west-2"), Data: "Couldn't convert unikernel name: " + LabelText},
		{Section: s, Status: 400, Text: "Couldn't find <param_name> in query params", Ask: at("instance=eu-west-2"), Data: "Couldn't find unikernel in query params"},
		{Section: s, Status: 400, Text: "Error with albatross instance name: <error>", Ask: at("unikernel=a&instance=a_b"), Data: "Error with albatross instance name: " + LabelText},
		{Section: s, Status: 404, Text: "Couldn't find albatross instance with name: <instance_name>", Ask: at("unikernel=a&instance=nowhere"),
			Data: "Couldn't find albatross instance with name: nowhere"},
		{Section: s, Status: 500, Text: "May return a general error message if the Albatross backend connection fails during the setup of the stream.", Given: HostAway,
			Ask: at("unikernel=hello-world&instance=eu-west-2"), Data: "Error querying albatross: connection refused"},
	}
}

func volumeCases(s, path string) []Case {
	form := func(changes map[string]any) apitest.Ask {
		return asUser(apitest.Ask{Path: path, Form: VolumeForm(changes)})
	}
	settings := func(text string) apitest.Ask { return form(map[string]any{"json_data": text}) }
	all := []Case{
		{Section: s, Status: 200, Text: "success", Ask: form(nil), Data: "set block device"},
		{Section: s, Status: 400, Text: "One or more required fields are missing.", Ask: form(map[string]any{"json_data": nil}), Data: "One or more required fields are missing."},
		{Section: s, Status: 400, Text: "Invalid block name: <error>", Ask: settings(`{"block_name": "data_vol_1", "block_size": 1024, "block_compressed": false}`),
			Data: "Invalid block name: " + LabelText},
		{Section: s, Status: 400, Text: "Error converting name to albatross instance <error>", Ask: form(map[string]any{"albatross_instance": "eu_west"}),
			Data: "Error converting name to albatross instance " + LabelText},
		{Section: s, Status: 400, Text: "unexpected field. got <error>", Ask: settings(`{"block_name": "vol1", "block_compressed": false}`),
			Data: `unexpected field. got {\"block_name\":\"vol1\",\"block_compressed\":false}`},
		{Section: s, Status: 400, Text: "expected a dictionary", Ask: settings(`[]`), Data: "expected a dictionary"},
		{Section: s, Status: 404, Text: "Couldn't find albatross instance with name <name>", Ask: form(map[string]any{"albatross_instance": "nowhere"}),
			Data: "Couldn't find albatross instance with name nowhere"},
		{Section: s, Status: 500, Text: "an error with albatross. got <error>", Ask: settings(`{"block_name": "vol1", "block_size": 4096, "block_compressed": false}`),
			Data: "an error with albatross. got failure: block device policy limit of 2048 MB (used 0 MB) would be exceeded by the request (4096 MB)"},
	}
	if strings.HasPrefix(s, "Upload") {
		all[0].Given, all[4].Text = WithVolume, "unexpected field. got <json>"
		all[7].Ask, all[7].Data = form(nil), "an error with albatross. got failure: set block: not found"
	}
	return all
}

func volumeDeleteCases() []Case {
	const s = "Delete a block device"
	at := func(body map[string]any) apitest.Ask {
		return asUser(apitest.Ask{Path: "/api/volume/delete", JSON: body})
	}
	return []Case{
		{Section: s, Status: 200, Text: "success", Given: WithVolume, Ask: at(block("data-vol-1", "eu-west-2")), Data: "removed block"},
		{Section: s, Status: 400, Text: "Couldn't find block name in json", Ask: at(map[string]any{"block_name": "data-vol-1"}), Data: "Couldn't find block name in json"},
		{Section: s, Status: 400, Text: "Error converting instance name: <error>", Ask: at(block("data-vol-1", "a_b")), Data: "Error converting instance name: " + LabelText},
		{Section: s, Status: 400, Text: "Error converting block name: <error>", Ask: at(block("a_b", "eu-west-2")), Data: "Error converting block name: " + LabelText},
		{Section: s, Status: 404, Text: "Couldn't find albatross instance with name: <name>", Ask: at(block("data-vol-1", "nowhere")),
			Data: "Couldn't find albatross instance with name: nowhere"},
		{Section: s, Status: 500, Text: "Error querying albatross: <error>", Given: HostAway, Ask: at(block("data-vol-1", "eu-west-2")), Data: "Error querying albatross: connection refused"},
		{Section: s, Status: 500, Text: "<albatross error>", Ask: at(block("data-vol-1", "eu-west-2")), Data: "failure: remove block: not found"},
	}
}

func downloadCases() []Case {
	const s = "Downloading Data from a block device"
	at := func(body map[string]any) apitest.Ask {
		return asUser(apitest.Ask{Path: "/api/volume/download", JSON: body})
	}
	return []Case{
		{Section: s, Status: 200, Text: "success", Given: WithData, Ask: at(download("vol1", "eu-west-2")), Stream: "hello block" + strings.Repeat("\x00", 1<<20-11)},
		{Section: s, Status: 400, Text: "Couldn't find block name in json", Ask: at(block("vol1", "eu-west-2")), Data: "Couldn't find block name in json"},
		{Section: s, Status: 400, Text: "Couldn't convert instance name: <error>", Ask: at(download("vol1", "a_b")), Data: "Couldn't convert instance name: " + LabelText},
		{Section: s, Status: 400, Text: "Couldn't convert block name: <error>", Ask: at(download("a_b", "eu-west-2")), Data: "Couldn't convert block name: " + LabelText},
		{Section: s, Status: 404, Text: "Couldn't find albatross instance with name: <name>", Ask: at(download("vol1", "nowhere")),
			Data: "Couldn't find albatross instance with name: nowhere"},
		{Section: s, Status: 500, Text: "May occur if the server fails to establish the data stream with the Albatross backend.", Ask: at(download("vol1", "eu-west-2")),
			Data: "failure: dump block: not found"},
	}
}

func tokenCases() []Case {
	const create, update, remove = "Create a new API Key (Token)", "Upade an API Key", "Delete an API Key"
	made := map[string]any{"token_name": "Gitlab CI", "token_expiry": 400000}
	with := func(value any) map[string]any {
		return map[string]any{"token_value": value, "token_name": "updated-gitlab-token", "token_expiry": 800000} //nolint:gosec // names of members
	}
	own := func(path string) apitest.Ask {
		return asUser(apitest.Ask{Path: path, JSON: with(userToken)})
	}
	const token = `{"token_type":"Bearer","value":"%s","expires_in":%d,"created_at":"2025-12-09 05:12:11-00:00","last_access":"2025-12-09 05:12:11-00:00","name":"%s","usage_count":%d}` //nolint:gosec // a form
	const storage = "Storage error with an internal error (request …)"
	return []Case{
		{Section: create, Status: 200, Text: "success", Ask: asUser(apitest.Ask{Path: "/api/tokens/create", JSON: made}), Data: fmt.Sprintf(token, "…", 400000, "Gitlab CI", 0)},
		{Section: create, Status: 400, Text: "Create token: Unexpected fields...", Ask: asUser(apitest.Ask{Path: "/api/tokens/create", Body: `{"token_name":"x"}`}),
			Data: `Create token: Unexpected fields. Got {\"token_name\":\"x\"}`},
		{Section: create, Status: 400, Text: "Auth token not found...", Ask: apitest.Ask{Path: "/api/tokens/create", JSON: made}, Data: "Auth token not found"},
		{Section: create, Status: 500, Text: "Storage error with <details>", Given: StoreBroken, Ask: asUser(apitest.Ask{Path: "/api/tokens/create", JSON: made}), Data: storage},

		{Section: update, Status: 200, Text: "success", Ask: own("/api/tokens/update"), Data: fmt.Sprintf(token, userToken, 800000, "updated-gitlab-token", 1)},
		{Section: update, Status: 400, Text: "Update token: Unexpected fields. Got ...", Ask: asUser(apitest.Ask{Path: "/api/tokens/update", Body: `{"token_name":5}`}),
			Data: `Update token: Unexpected fields. Got {\"token_name\":5}`},
		{Section: update, Status: 400, Text: "Auth token not found", Ask: apitest.Ask{Path: "/api/tokens/update", JSON: with("x")}, Data: "Auth token not found"},
		{Section: update, Status: 404, Text: "Token not found", Ask: asUser(apitest.Ask{Path: "/api/tokens/update", JSON: with(Unknown)}), Data: "Token not found"},
		{Section: update, Status: 500, Text: "Storage error with <details>", Given: StoreBroken, Ask: own("/api/tokens/update"), Data: storage},

		{Section: remove, Status: 200, Text: "success", Ask: own("/api/tokens/delete"), Title: "OK", Data: "Token deleted succesfully"}, //nolint:misspell // the document's text
		{Section: remove, Status: 400, Text: "Delete token: Unexpected fields...", Ask: asUser(apitest.Ask{Path: "/api/tokens/delete", Body: `{}`}), Data: "Delete token: Unexpected fields. Got {}"},
		{Section: remove, Status: 400, Text: "Auth token not found", Ask: apitest.Ask{Path: "/api/tokens/delete", JSON: with("x")}, Data: "Auth token not found"},
		{Section: remove, Status: 500, Text: "Storage error with <details>", Given: StoreBroken, Ask: own("/api/tokens/delete"), Data: storage},
	}
}

func retryCases() []Case {
	const s = "Retry Albatross Connection (Admin)"
	at := func(query string) apitest.Ask {
		return asAdmin(apitest.Ask{Path: "/api/admin/albatross/retry" + query})
	}
	return []Case{
		{Section: s, Status: 200, Text: "success", Ask: at("?instance=eu-west-2"), Data: "Re-initialization successful, instance is back online"},
		{Section: s, Status: 400, Text: "Couldn't find instance in query params", Ask: at(""), Data: "Couldn't find instance in query params"},
		{Section: s, Status: 400, Text: "Error with albatross instance name: <error>", Ask: at("?instance=a_b"), Data: "Error with albatross instance name: " + LabelText},
		{Section: s, Status: 400, Text: "You don't have the necessary permissions...", Ask: asUser(apitest.Ask{Path: "/api/admin/albatross/retry?instance=eu-west-2"}),
			Data: "You don't have the necessary permissions to access this service."},
		{Section: s, Status: 404, Text: "Couldn't find albatross instance with name: <name>", Ask: at("?instance=nowhere"), Data: "Couldn't find albatross instance with name: nowhere"},
		{Section: s, Status: 500, Text: "Re-initialization failed. See error logs: <error>", Given: HostAway, Ask: at("?instance=eu-west-2"),
			Data: "Re-initialization failed. See error logs: connection refused"},
	}
}
