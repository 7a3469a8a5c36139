//! What people are told while all goes well, and warnings.

super::messages! {
    /// A sentence about what is done. A whole line, so its form is free.
    Notice {
        Plain { text: String }
            "{text}"
            "{text}"
        Warning { text: String }
            "warning: {text}"
            "警告：{text}"
        Error { text: String }
            "error: {text}"
            "错误：{text}"
        Because { text: String }
            "  because: {text}"
            "  原因：{text}"
        Hint { text: String }
            "hint: {text}"
            "提示：{text}"
        Stopping {}
            "Stopping: what has begun is being finished. A second signal ends at once."
            "正在停止：已开始的工作正在收尾。再次发送信号将立即结束。"
        DoneNotEverything { what: String }
            "Done, but not everything. {what}."
            "已完成，但不完整。{what}。"
        PathsUnreadable {}
            "Paths unreadable:"
            "无法读取的路径："
        FilesChanged {}
            "Files that changed while they were read:"
            "读取时发生变化的文件："
        MetadataNotSet {}
            "Paths whose metadata could not all be set:"
            "元数据未能全部设置的路径："
        ReplicasBehind {}
            "Replicas behind:"
            "落后的副本："
        ObjectsUnlocked {}
            "Objects that are not locked as the settings want:"
            "未按设定锁定的对象："

        ReplicaAbsent { address: String, why: String }
            "the replica {address} is left out: {why}"
            "副本 {address} 未参与：{why}"
        ReplicaLagging { address: String, why: String }
            "the replica {address} did not take this: {why}; `shudao vault replica sync` brings it level"
            "副本 {address} 未接受此更改：{why}；可用 `shudao vault replica sync` 使其一致"
        ReplicaBehind { address: String, objects: String, bytes: String, why: String }
            "the replica {address} is behind by {objects} objects ({bytes}) of this run: {why}; the next run or `shudao vault replica sync` brings it level"
            "副本 {address} 落后本次运行的 {objects} 个对象（{bytes}）：{why}；下次运行或 `shudao vault replica sync` 可使其一致"

        NotPinned { address: String, why: String }
            "what is read on the replica {address} is not pinned there: {why}; if it is forgotten meanwhile, it stays for the grace of collection only"
            "副本 {address} 上正在读取的内容未被固定：{why}；若在此期间被遗忘，仅在回收宽限期内保留"
        TooManyToPin { count: String }
            "{count} snapshots are too many to pin: one that is forgotten meanwhile stays for the grace of collection only"
            "{count} 个快照过多，无法固定：若其中有快照在此期间被遗忘，仅在回收宽限期内保留"

        ReplicaAdded { name: String, address: String }
            "Added the replica {name} at {address}. Name it with --vault, or in the config, to have it take part."
            "已添加副本 {name}，位于 {address}。请用 --vault 或在配置中指定它，使其参与后续操作。"
        SingleWriter { address: String, client: String }
            "the store at {address} does not create objects only if they are absent: from now on only this client ({client}) may write to the vault; others are refused"
            "{address} 处的存储不支持“仅当不存在时创建”：此后只有本客户端（{client}）可以写入该保险库，其他客户端将被拒绝"
        TakeoverFrom { before: String, client: String }
            "client {before} alone may write to this vault; from then on this one, {client}, would"
            "目前仅客户端 {before} 可写入该保险库；接管后改为本客户端 {client}"
        TakeoverFirst { client: String }
            "every client may write to this vault; from then on only this one, {client}, would"
            "目前所有客户端均可写入该保险库；接管后仅本客户端 {client} 可写"
        TakeoverRisk {}
            "the risk: if the other client still writes, now or later from where it stopped, one of the two overwrites what the other has just logged, and a snapshot or a deletion that was reported as done is undone. Make sure that nothing runs there. Run `shudao check` afterwards"
            "风险：若另一客户端仍在写入（或稍后从中断处继续），两者会互相覆盖刚写入的日志，已报告完成的快照或删除可能失效。请先确认对方没有任何任务在运行，并在之后执行 `shudao check`"
        TakenOver { client: String }
            "this client, {client}, alone may write to the vault now"
            "现在仅本客户端 {client} 可写入该保险库"
        InfoSingleWriter { client: String }
            "writer     only client {client}: a store of this vault cannot keep the order of several"
            "写入者     仅客户端 {client}：该保险库有存储无法保证多个客户端的次序"
        ReplicaRemoved { name: String }
            "The replica {name} is struck out of the vault's settings. Nothing was deleted there."
            "副本 {name} 已从保险库设置中移除。该处的数据未被删除。"
        ReplicaElsewhere { name: String }
            "The vault's settings also know the replica {name}, which is not named here."
            "保险库设置中还有副本 {name}，此处未指定。"
        Synced { from: String, to: String, snapshots: String, statements: String, objects: String, bytes: String }
            "{from} to {to}: {snapshots} snapshots, {statements} statements, {objects} objects ({bytes}) copied."
            "{from} 至 {to}：快照 {snapshots} 个，声明 {statements} 条，复制对象 {objects} 个（{bytes}）。"
        NotSynced { to: String, what: String, why: String }
            "{what} could not be brought to {to}: {why}"
            "未能将 {what} 带到 {to}：{why}"

        PromptPassword {}
            "Password of the vault: "
            "保险库口令："
        PromptNewPassword {}
            "New password (empty: one is generated): "
            "新口令（留空则自动生成）："
        PromptNewPasswordAgain {}
            "The same again: "
            "请再次输入："
        WeakPassword { bits: u32 }
            "the password is weak: about {bits} bits, and whoever copies the vault can guess at leisure; a generated one has 90"
            "口令强度不足：约 {bits} 位，任何取得保险库副本的人都可以从容猜测；自动生成的口令有 90 位"
        GeneratedPassword { password: String }
            "The password, shown only this once: {password}"
            "口令（仅显示这一次）：{password}"

        ProgressFiles { files: String }
            "{files} files"
            "{files} 个文件"
        ProgressDedup { ratio: String, stored: String }
            "dedup {ratio}, {stored} stored"
            "去重比 {ratio}，已存 {stored}"
        ProgressLeft { time: String }
            "{time} left"
            "剩余 {time}"

        ProgressReplica { address: String, stored: String, waiting: String, state: String }
            "{address}: {stored} stored, {waiting} waiting · {state}"
            "{address}：已存 {stored}，等待 {waiting} · {state}"

        UnfinishedFile { path: String }
            "{path} was being changed by a restore that did not finish; restore again to make it whole"
            "{path} 正被一次未完成的恢复修改；请重新恢复以使其完整"
        WritersTrusted {}
            "writers will deduplicate against each other's packs: one that lies can spoil snapshots of the others"
            "各写入者将基于彼此的包去重：任一写入者作假都可能损害其他写入者的快照"
        RecoveryKitWritten { path: String }
            "The recovery kit {path} opens the vault like the password does: keep it apart from the vault."
            "恢复套件 {path} 与口令一样可以开启保险库：请与保险库分开保存。"
        VaultMade { vault: String, address: String }
            "Made vault {vault} at {address}."
            "已在 {address} 创建保险库 {vault}。"
        InfoVault { vault: String }
            "vault         {vault}"
            "保险库        {vault}"
        InfoOwner { key: String }
            "owner's key   {key}"
            "所有者密钥    {key}"
        InfoFormat { version: u8, suite: String }
            "format        version {version}, suite {suite}"
            "格式          版本 {version}，算法套件 {suite}"
        InfoCreated { time: String }
            "made          {time}"
            "创建时间      {time}"
        InfoCounts { keys: u64, snapshots: u64 }
            "holds         {keys} keys, {snapshots} snapshots"
            "内容          {keys} 个密钥，{snapshots} 个快照"
        InfoFeatures { features: String }
            "features      {features}"
            "特性          {features}"
        InfoTrusting {}
            "writers       deduplicate against each other's packs (--trust-writers)"
            "写入者        基于彼此的包去重（--trust-writers）"
        InfoNotTrusting {}
            "writers       deduplicate against their own and vouched packs only"
            "写入者        仅基于自身及经担保的包去重"
        InfoErasable {}
            "erasable      yes: destroying its keys erases it"
            "可擦除        是：销毁密钥即可擦除"
        InfoNotErasable {}
            "erasable      no: a password slot stands in the replicas"
            "可擦除        否：副本中存在口令槽"
        UnfinishedRestore { target: String }
            "a restore into {target} was interrupted while it changed files in place; the same restore --in-place finishes it"
            "恢复到 {target} 的操作在就地修改文件时被中断；重新执行同一 restore --in-place 即可完成"
        KeyAdded { key: String, role: String }
            "Added key {key}, role {role}."
            "已添加密钥 {key}，角色 {role}。"
        ShareWritten { path: String }
            "Wrote {path}: give it to one holder and remove it here."
            "已写入 {path}：请交给一位持有人，并从此处删除。"
        IdentityWritten { secret: String, public: String }
            "Wrote {secret}, which opens what is sealed to it: let nobody have it, and keep a copy. {public} may be given to anybody; `shudao vault key add --recipient` takes it."
            "已写入 {secret}：它可开启为其封装的密钥，请勿交给任何人，并另存副本。{public} 可以公开，供 `shudao vault key add --recipient` 使用。"
        KeyRemoved { key: String }
            "Removed key {key}."
            "已删除密钥 {key}。"
        KeyWrote {}
            "Snapshots that this key made. They stay; look at them if the key was stolen:"
            "此密钥写入的快照。它们会保留；若密钥被盗，请逐一核查："
        ManualWritten { dir: String }
            "Wrote the manual pages to {dir}."
            "已将手册页写入 {dir}。"
        OldCopiesStayOpenable {}
            "Old copies of the vault stay openable with this key until `shudao vault key rotate`, and what they hold stays readable to it for good."
            "在执行 `shudao vault key rotate` 之前，此密钥仍可开启保险库的旧副本；旧副本中的内容对它始终可读。"
        KeysRotated { generation: u32 }
            "Keys rotated: what is stored from now on is under generation {generation}."
            "密钥已轮换：此后存储的数据使用第 {generation} 代密钥。"

        BackupParent { source: String, parent: String }
            "Source {source}, compared with snapshot {parent}."
            "数据源 {source}，与快照 {parent} 比较。"
        BackupFirst { source: String }
            "Source {source}, its first snapshot."
            "数据源 {source}，首个快照。"
        BackupFiles { new: String, changed: String, unmodified: String, removed: String }
            "Files: {new} new, {changed} changed, {unmodified} unmodified; {removed} paths removed."
            "文件：新增 {new}，变更 {changed}，未变 {unmodified}；移除路径 {removed}。"
        BackupBytes { read: String, total: String, new: String, stored: String, time: String, rate: String }
            "Read {read} of {total} in {time} ({rate}). New to the vault, names included: {new}; stored: {stored}."
            "用时 {time} 读取 {read}，共 {total}（{rate}）。对保险库而言是新数据（含名称）：{new}；存储：{stored}。"
        BackupSockets { count: String }
            "Sockets skipped, which have no content: {count}."
            "跳过套接字（没有内容）：{count}。"
        BackupResumed { session: String, files: String, bytes: String, stored: String }
            "Went on where session {session} was interrupted: {files} files with {bytes} were not read again, {stored} not uploaded again."
            "已从中断的会话 {session} 继续：{files} 个文件（{bytes}）未重新读取，{stored} 未重新上传。"
        BackupSaved { snapshot: String }
            "Snapshot {snapshot} is committed."
            "快照 {snapshot} 已提交。"
        BackupDry {}
            "Dry run: nothing was stored."
            "试运行：未存储任何数据。"

        NoSnapshots {}
            "No snapshot yet, or none that this selection and this key can see."
            "尚无快照，或按所选条件和当前密钥看不到任何快照。"
        DiffSummary { added: String, removed: String, changed: String, metadata: String }
            "{added} added, {removed} removed, {changed} changed, {metadata} with other metadata only."
            "新增 {added}，移除 {removed}，变更 {changed}，仅元数据不同 {metadata}。"
        DeletePlan { count: String }
            "Plan: delete the paths above, which the snapshot lacks: {count}."
            "计划：删除以上快照中没有的路径：{count} 个。"
        Deleted { count: String }
            "Paths deleted that the snapshot lacks: {count}."
            "已删除快照中没有的路径：{count} 个。"
        Restored { files: String, unchanged: String, written: String, read: String, time: String, rate: String, target: String }
            "Restored {files} files to {target} in {time}: {written} written ({rate}), {read} read from the vault, {unchanged} files were right already."
            "已在 {time} 内将 {files} 个文件恢复到 {target}：写入 {written}（{rate}），从保险库读取 {read}，{unchanged} 个文件原已正确。"
        VerifyEqual { directory: String, files: String, bytes: String, time: String, root: String }
            "{directory} is what was promised: {files} files, {bytes}, in {time}; manifest root {root}."
            "{directory} 与承诺一致：{files} 个文件，{bytes}，用时 {time}；清单根 {root}。"
        VerifyDiffers { directory: String, count: String, files: String, bytes: String, time: String, expected: String, root: String }
            "{directory} differs. Paths: {count}; gone through: {files} files, {bytes}, in {time}; manifest root {root}, expected {expected}."
            "{directory} 存在差异。路径：{count}；已核验 {files} 个文件，{bytes}，用时 {time}；清单根 {root}，应为 {expected}。"
        VerifyEqualAsFarAsRead { directory: String, files: String, bytes: String, time: String, root: String }
            "{directory} is what was promised as far as it could be read: {files} files, {bytes}, in {time}; manifest root {root}."
            "{directory} 中可读取的部分与承诺一致：{files} 个文件，{bytes}，用时 {time}；清单根 {root}。"
        VerifyExcluded { count: String }
            "Paths left out by the snapshot's own rules: {count}."
            "按快照自身规则排除的路径：{count}。"
        CheckScope { entries: String, snapshots: String, objects: String, packs_read: String, packs: String, time: String }
            "Checked {entries} log entries, {snapshots} snapshots, {objects} objects; read {packs_read} of {packs} packs; in {time}."
            "已检查 {entries} 条日志、{snapshots} 个快照、{objects} 个对象；读取 {packs} 个包中的 {packs_read} 个；用时 {time}。"
        SampleBound { packs: String, percent: String, confidence: f64 }
            "{packs} packs clean: under {percent} % of all packs are bad, at {confidence} % confidence."
            "抽查 {packs} 个包均完好：在 {confidence} % 置信度下，坏包比例低于 {percent} %。"
        CheckClean {}
            "No damage."
            "未发现损坏。"
        CheckDamaged { standing: String }
            "Damage that stands: {standing}."
            "尚存损坏：{standing} 处。"
        FindingStands { object: String, problem: String, consequence: String }
            "{object}: {problem}; {consequence}"
            "{object}：{problem}；{consequence}"
        CheckReplica { address: String, finding: String }
            "{address}: {finding}"
            "{address}：{finding}"
        CheckMended { mended: String }
            "Mended from a sibling: {mended}."
            "已从其他副本修复：{mended} 处。"
        NotMended { object: String, why: String }
            "{object} could not be mended: {why}"
            "未能修复 {object}：{why}"
        FindingMended { object: String, problem: String }
            "{object}: {problem}; mended"
            "{object}：{problem}；已修复"
        Held { snapshot: String }
            "Snapshot {snapshot} is held: it cannot be forgotten until it is released."
            "快照 {snapshot} 已保全：解除前不能被遗忘。"
        Released { snapshot: String }
            "Snapshot {snapshot} is released."
            "快照 {snapshot} 已解除保全。"
        ForgetPlan { count: String }
            "Plan: snapshots to be forgotten, for good: {count}."
            "计划：将永久遗忘的快照：{count} 个。"
        ClocksInDoubt { count: String }
            "Snapshots whose times contradict their sequence or lie in the future: {count}. They stay, and no rule counts them: check the clocks of their hosts."
            "时间与序号矛盾或位于未来的快照：{count} 个。它们予以保留，且不计入任何规则：请检查相关主机的时钟。"
        Forgotten { count: String }
            "Snapshots forgotten: {count}. Their space stays used until the vault is collected."
            "已遗忘快照：{count} 个。所占空间在保险库回收之前不会释放。"
        GcStored { objects: String, bytes: String }
            "Stored: {objects} objects, {bytes}."
            "已存储：{objects} 个对象，{bytes}。"
        GcNothing {}
            "There is nothing to collect now."
            "目前没有可回收的内容。"
        GcCopies { bytes: String }
            "copying {bytes}"
            "将复制 {bytes}"
        GcGraceEnds { time: String }
            "first at {time}"
            "最早于 {time}"
        GcUnansweredBy { count: String }
            "backups under way: {count}"
            "进行中的备份：{count} 个"
        GcBlocked { snapshot: String }
            "it cannot be read what snapshot {snapshot} needs, so nothing is called unneeded: repair it with `shudao check --repair`, or forget the snapshot"
            "无法读取快照 {snapshot} 的依赖清单，因此不会判定任何内容无用：请用 `shudao check --repair` 修复，或遗忘该快照"
        GcNoGrace {}
            "without grace every backup under way is ended, and what a restore still reads may be deleted"
            "不设宽限期会终止所有进行中的备份，正在恢复所读的内容也可能被删除"
        GcStopped { address: String, why: String }
            "the collection of {address} stopped: {why}"
            "{address} 的回收已停止：{why}"
        GcDone { condemned: String, deleted: String, objects: String }
            "Condemned {condemned}; deleted {deleted} in {objects} objects."
            "已判定无用 {condemned}；已删除 {deleted}，共 {objects} 个对象。"
        LockPlanGovernance { address: String, objects: String, time: String }
            "{address}: {objects} objects are locked until {time}; only who may bypass governance retention can delete them before."
            "{address}：{objects} 个对象将锁定至 {time}；在此之前仅有权绕过 governance 保留的人可以删除。"
        LockPlanCompliance { address: String, objects: String, time: String }
            "{address}: {objects} objects are locked until {time}; nobody can delete them before, nor shorten that, the owner of the bucket and the provider included."
            "{address}：{objects} 个对象将锁定至 {time}；在此之前任何人都不能删除或缩短，包括存储桶所有者和云服务商。"
        LocksExtended { address: String, extended: String, covered: String, time: String, next: String }
            "{address}: {extended} locks set or extended, {covered} long enough; locked until {time}, next pass due from {next} on."
            "{address}：设置或延长 {extended} 个锁，{covered} 个已足够；锁定至 {time}，下次应在 {next} 之后执行。"
        NotLocked { address: String, why: String }
            "{address}: not locked: {why}"
            "{address}：未能锁定：{why}"
        LocksOffPlan {}
            "Objects will not be locked any more. Locks that there are stay until they run out."
            "今后不再锁定对象。已有的锁保持到期满。"
        LocksOff {}
            "Objects are not locked any more. Locks that there are stay until they run out."
            "不再锁定对象。已有的锁保持到期满。"
        LocksWanting { address: String, unlocked: String, short: String, looked: String, example: String }
            "{address}: of {looked} objects looked at {unlocked} are not locked and {short} run out too soon, such as {example}; `shudao vault lock` mends that"
            "{address}：查看的 {looked} 个对象中 {unlocked} 个未锁定，{short} 个即将到期，例如 {example}；可用 `shudao vault lock` 修复"
        LocksUnseen { address: String, why: String }
            "{address}: a lock could not be looked at: {why}"
            "{address}：无法查看锁：{why}"
        SurveySize { files: String, directories: String, bytes: String, allocated: String }
            "{files} files in {directories} directories: {bytes}, of which {allocated} are allocated on disk."
            "{directories} 个目录中共 {files} 个文件：{bytes}，其中磁盘实际占用 {allocated}。"
        SurveyChurn { bytes: String }
            "Modified in the last day: {bytes}."
            "最近一天修改：{bytes}。"
        SurveyRatios { sampled: String, dedup: String, compression: String, rate: String }
            "Of {sampled} read at {rate}: deduplication {dedup}, compression {compression}."
            "以 {rate} 抽样读取 {sampled}：去重比 {dedup}，压缩比 {compression}。"
        SurveyUpTo { size: String }
            "up to {size}"
            "不超过 {size}"
        SurveyAbove { size: String }
            "above {size}"
            "超过 {size}"
        SurveyForecast { stored: String, first: String, daily: String }
            "Forecast: {stored} in the vault; the first backup takes {first}, a daily one {daily}."
            "预测：保险库占用 {stored}；首次备份需 {first}，每日备份需 {daily}。"

        QuickSource { dir: String, files: String, bytes: String }
            "A tour of the main job, on {dir}: {files} files, {bytes}. That directory is only read."
            "主要功能演示，使用 {dir}：{files} 个文件，{bytes}。该目录只会被读取。"
        QuickLarge {}
            "That is much for a tour: it will take a while, and about three times as much room."
            "对演示而言数据量较大：需要较长时间，并占用约三倍空间。"
        QuickSettings {}
            "# To repeat this by hand when it is done, begin with this, then give the lines behind $:"
            "# 若要在演示结束后手工重复，请先执行以下几行，再依次执行 $ 之后的命令："
        QuickCopy {}
            "# A copy to work on:"
            "# 制作一份工作副本："
        QuickInit {}
            "# Make a vault:"
            "# 创建保险库："
        QuickFirst {}
            "# The first backup reads everything:"
            "# 首次备份读取全部数据："
        QuickChange {}
            "# Change some files: add, append, delete, touch, rename, chmod:"
            "# 修改一些文件：新增、追加、删除、更新时间、重命名、改权限："
        QuickSecond {}
            "# The second backup opens what changed, and what is too young to tell (written in the two seconds before the first):"
            "# 第二次备份只打开有变化的文件，以及过新而无法判断的文件（首次备份前两秒内写入的）："
        QuickRestore {}
            "# Restore the newest snapshot:"
            "# 恢复最新快照："
        QuickVerify {}
            "# Hold what was restored, and the live copy, against the snapshot:"
            "# 将恢复结果和现有副本分别与快照核验："
        QuickCheck {}
            "# Test the vault against itself, reading every byte:"
            "# 读取每个字节，对保险库进行自检："
        QuickTook { time: String }
            "# took {time}"
            "# 用时 {time}"
        QuickPartial {}
            "# not everything could be done; the tour goes on with what could"
            "# 未能全部完成；演示以已完成的部分继续"
        QuickSizes { data: String, first: String, growth: String, time: String }
            "Done in {time}. The data: {data}. The vault after the first backup: {first}; the second added {growth}."
            "全部完成，用时 {time}。数据：{data}。首次备份后保险库：{first}；第二次增加 {growth}。"
        QuickCleaned { dir: String }
            "Removed {dir}; nothing else was made."
            "已删除 {dir}；没有产生其他内容。"
        QuickLeft { dir: String, quoted: String }
            "Everything lies in {dir}: data, vault, restored, password, recovery-kit, cache, state. To remove it: rm -r {quoted}"
            "全部内容位于 {dir}：data、vault、restored、password、recovery-kit、cache、state。删除方法：rm -r {quoted}"
    }
}
