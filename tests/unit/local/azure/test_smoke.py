import pytest, time
async def test_smoke(azure):
    t=time.time()
    i, url = await azure.tenant("nbhd-abc")
    print(i.as_dict(), url)
    b=azure.body()
    b["identity"]={"type":"UserAssigned","userAssignedIdentities":{i.id:{}}}
    b["properties"]["configuration"]["secrets"]=[{"name":"credentials","keyVaultUrl":url,"identity":i.id}]
    r=await azure.put("nbhd-abc", b)
    import json
    print(json.dumps(r.as_dict(),indent=1))
    print(azure.world.inventory(), time.time()-t)
    for l in azure.world.requests: print(l)
