BEGIN TRANSACTION;
CREATE TABLE teambus_schema (
	session_table TEXT NOT NULL, 
	version INTEGER NOT NULL, 
	PRIMARY KEY (session_table)
);
INSERT INTO "teambus_schema" VALUES('teambus_sessions',1);
CREATE TABLE teambus_sessions (
	tenant TEXT NOT NULL, 
	session_id TEXT NOT NULL, 
	team_id TEXT NOT NULL, 
	user_id TEXT, 
	session_name TEXT NOT NULL, 
	session_state TEXT, 
	metadata TEXT, 
	fence BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	PRIMARY KEY (tenant, session_id)
);
INSERT INTO "teambus_sessions" VALUES('default','s1','news','ada','question of r1','{"seen":2}',NULL,2,1700000000,1700000001);
INSERT INTO "teambus_sessions" VALUES('default','s2','news',NULL,'question of other',NULL,NULL,7,1700000000,1700000001);
CREATE TABLE teambus_sessions_runs (
	tenant TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	session_id TEXT NOT NULL, 
	team_id TEXT NOT NULL, 
	user_id TEXT, 
	parent_run_id TEXT, 
	fence BIGINT NOT NULL, 
	status TEXT NOT NULL, 
	input TEXT NOT NULL, 
	content_preview TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	completed_at DOUBLE NOT NULL, 
	output TEXT NOT NULL, 
	PRIMARY KEY (tenant, run_id)
);
INSERT INTO "teambus_sessions_runs" VALUES('default','r1','s1','news','ada',NULL,1,'COMPLETED','question of r1','answer of r1',1700000000,1700000001.5,'{"run_id":"r1","team_id":"news","session_id":"s1","status":"COMPLETED","created_at":1700000000,"content_type":"str","member_responses":[{"run_id":"r1-member","status":"COMPLETED","created_at":1700000000,"parent_run_id":"r1","agent_id":"writer","agent_name":"Writer","session_id":"s1","input":{"input_content":"a task"},"content":"a member''s words","metrics":{"input_tokens":5,"output_tokens":1,"total_tokens":6,"duration":0.5,"details":{"model":[{"id":"gpt-5.2","provider":"OpenAI","input_tokens":5,"output_tokens":1,"total_tokens":6}]}}}],"user_id":"ada","input":{"input_content":"question of r1"},"content":"answer of r1","messages":[{"id":"system-be brief","role":"system","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"be brief"},{"id":"user-an older question","role":"user","from_history":true,"stop_after_tool_call":false,"created_at":1,"content":"an older question"},{"id":"user-question of r1","role":"user","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"question of r1"},{"id":"assistant-answer of r1","role":"assistant","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"answer of r1"}],"metrics":{"input_tokens":10,"output_tokens":1,"total_tokens":11,"duration":0.5,"details":{"model":[{"id":"gpt-5.2","provider":"OpenAI","input_tokens":10,"output_tokens":1,"total_tokens":11}]}}}');
INSERT INTO "teambus_sessions_runs" VALUES('default','r2','s1','news','ada',NULL,2,'COMPLETED','question of r2','answer of r2',1700000000,1700000001.5,'{"run_id":"r2","team_id":"news","session_id":"s1","status":"COMPLETED","created_at":1700000000,"content_type":"str","member_responses":[{"run_id":"r2-member","status":"COMPLETED","created_at":1,"messages":[{"id":"assistant-a member''s words","role":"assistant","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"a member''s words"}]}],"user_id":"ada","input":{"input_content":"question of r2"},"content":"answer of r2","messages":[{"id":"system-be brief","role":"system","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"be brief"},{"id":"user-an older question","role":"user","from_history":true,"stop_after_tool_call":false,"created_at":1,"content":"an older question"},{"id":"user-question of r2","role":"user","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"question of r2"},{"id":"assistant-answer of r2","role":"assistant","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"answer of r2"}],"metrics":{"input_tokens":20,"output_tokens":1,"total_tokens":21,"duration":0.5,"details":{"model":[{"id":"gpt-5.2","provider":"OpenAI","input_tokens":20,"output_tokens":1,"total_tokens":21}]}}}');
INSERT INTO "teambus_sessions_runs" VALUES('default','other','s2','news',NULL,NULL,7,'COMPLETED','question of other','{"title":"it''s"}',1700000000,1700000001.5,'{"run_id":"other","team_id":"news","session_id":"s2","status":"COMPLETED","created_at":1700000000,"content_type":"str","member_responses":[{"run_id":"other-member","status":"COMPLETED","created_at":1,"messages":[{"id":"assistant-a member''s words","role":"assistant","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"a member''s words"}]}],"input":{"input_content":"question of other"},"content":{"title":"it''s"},"messages":[{"id":"system-be brief","role":"system","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"be brief"},{"id":"user-an older question","role":"user","from_history":true,"stop_after_tool_call":false,"created_at":1,"content":"an older question"},{"id":"user-question of other","role":"user","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"question of other"},{"id":"assistant-answer of other","role":"assistant","from_history":false,"stop_after_tool_call":false,"created_at":1,"content":"answer of other"}]}');
CREATE INDEX teambus_sessions_runs_in_order ON teambus_sessions_runs (tenant, session_id, fence);
COMMIT;
