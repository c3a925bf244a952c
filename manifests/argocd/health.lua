-- Health of a Tenant for Argo CD, from its conditions alone, as kstatus (and so Flux) reads them:
--   Stalled is True      Degraded      a person is needed
--   Reconciling is True  Progressing   the operator works on it
--   Ready is not True    Progressing   the assistant should answer and does not yet
--   Ready is True        Healthy       the assistant answers
--   there is no Ready    Healthy, or Suspended where service is stopped: no answer is due, and all is as it should be
-- A Tenant that waits for its chat or its payment is Healthy: a sync that waits for health would else never end.
local health = { status = "Progressing", message = "The operator has not looked at it yet." }
if obj.metadata.deletionTimestamp ~= nil then
  health.message = "It is being deleted."
  return health
end
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration == nil then
  return health
end
if status.observedGeneration ~= obj.metadata.generation then
  health.message = "The operator has not seen the latest change yet."
  return health
end

local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
local stalled, reconciling, ready = found.Stalled, found.Reconciling, found.Ready

if stalled ~= nil and stalled.status == "True" then
  return { status = "Degraded", message = stalled.reason .. ": " .. stalled.message }
end
if reconciling ~= nil then
  health.message = reconciling.reason .. ": " .. reconciling.message
end
if (reconciling ~= nil and reconciling.status == "True") or (ready ~= nil and ready.status ~= "True") then
  return health
end
if ready == nil and (status.phase == "Suspended" or status.phase == "Ended") then
  health.status = "Suspended"
else
  health.status = "Healthy"
end
return health
