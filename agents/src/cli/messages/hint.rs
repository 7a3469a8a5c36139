//! What to do: the sentence behind `hint:`.

super::messages! {
    /// What to do about a problem. Every error ends with one.
    #[derive(Debug, Clone, PartialEq)]
    Hint {
        AddYes {}
            "read the plan above; if it is what you want, give the same command with --yes"
            "请核对上述计划；如确认无误，在同一命令后加上 --yes"
        CheckCredentials {}
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the region, and what they are allowed to do"
            "请检查 AWS_ACCESS_KEY_ID、AWS_SECRET_ACCESS_KEY 与区域设置，以及它们拥有的权限"
        CheckDirectory {}
            "check that the directory exists, that you may write there and that it has room"
            "请确认该目录存在、有写入权限且空间充足"
        CheckFile {}
            "check the file's name and whether you may read it"
            "请检查文件名以及读取权限"
        CheckTree {}
            "check that the directory exists and that you may read it"
            "请确认该目录存在且有读取权限"
        CheckCommand {}
            "see what the command said above; nothing of its output was kept"
            "请查看上方该命令的输出；其结果未予保留"
        CheckStdout {}
            "check the room where stdout goes; what was written there is incomplete"
            "请检查标准输出所在位置的空间；已写出的内容不完整"
        ConfigPathsAbsolute {}
            "names of vaults have no slash, replicas are not empty, and paths in the config are absolute"
            "保险库名称不能含斜杠，副本列表不能为空，配置中的路径必须是绝对路径"
        CorrectConfig {}
            "correct the config file, or name another one with --config"
            "请更正配置文件，或用 --config 指定另一个"
        FreeResources {}
            "free some memory or raise the limits of processes and threads"
            "请释放内存，或提高进程与线程数限制"
        GiveKeepRules {}
            "give rules such as --keep-daily 7, or name the snapshots"
            "请给出规则（例如 --keep-daily 7），或指定快照"
        GivePassword {}
            "set SHUDAO_PASSWORD, SHUDAO_PASSWORD_FILE or SHUDAO_PASSWORD_COMMAND (for a new key: SHUDAO_NEW_PASSWORD or SHUDAO_NEW_PASSWORD_FILE), or run on a terminal"
            "请设置 SHUDAO_PASSWORD、SHUDAO_PASSWORD_FILE 或 SHUDAO_PASSWORD_COMMAND（新密钥用 SHUDAO_NEW_PASSWORD 或 SHUDAO_NEW_PASSWORD_FILE），或在终端上运行"
        GiveRecoveryKit {}
            "give --recovery-kit FILE and keep the file apart from the vault, or --no-recovery-kit to go without"
            "请用 --recovery-kit FILE 并将该文件与保险库分开保存；或用 --no-recovery-kit 表示不需要"
        GiveRightKey {}
            "check the password, the identity or the shares; `shudao vault info` shows which vault this is"
            "请检查口令、身份密钥或份额；`shudao vault info` 可查看这是哪个保险库"
        IdentityNewFile {}
            "name a file that does not exist yet, nor with .pub behind its name, in a directory where you may write"
            "请指定一个尚不存在的文件（加 .pub 的文件名也不能存在），且所在目录可写"
        InitOrCorrectAddress {}
            "correct the address, or make a vault there with `shudao vault init`"
            "请更正地址，或用 `shudao vault init` 在该处创建保险库"
        MakeLockable {}
            "docs/object-lock.md says how the bucket and its policy must be; the owner's `shudao vault lock --off` does without locks"
            "存储桶及其策略的要求见 docs/object-lock.md；所有者可用 `shudao vault lock --off` 取消锁定"
        MakeRoom {}
            "there is no room left: make some and give the command again; nothing that was there before is harmed"
            "请腾出空间后重新执行；原有数据未受影响"
        NameDirectory {}
            "name a directory, for example `shudao quickstart /usr/share/doc`"
            "请指定一个目录，例如 `shudao quickstart /usr/share/doc`"
        NameTwoReplicas {}
            "give FROM and TO, or --vault for each replica, or a name of the config that has several"
            "请给出 FROM 与 TO，或为每个副本给出 --vault，或使用配置中含多个副本的名称"
        NameOneReplica {}
            "name one replica by its address, for example --vault /srv/vault"
            "请按地址指定一个副本，例如 --vault /srv/vault"
        UseVaultThere {}
            "use the vault that is there, or name another place"
            "请使用该处已有的保管库，或指定其他位置"
        AcceptRollback {}
            "somebody put back an older copy, or wrote to a copy of it: find out which; give --accept-rollback once you know that this is the state you want"
            "可能有人恢复了旧副本，或写入了其复制品：请先查明；确认这就是所需状态后，再加 --accept-rollback"
        NameSource {}
            "name one with --source, or give a snapshot's id"
            "请用 --source 指定一个，或给出快照编号"
        ListSnapshots {}
            "`shudao snapshots` lists what there is, `shudao ls SNAP` what a snapshot holds"
            "`shudao snapshots` 列出已有快照，`shudao ls SNAP` 列出快照内容"
        UseEmptyOrInPlace {}
            "name an empty directory, or write into this one with --in-place"
            "请指定空目录，或用 --in-place 写入该目录"
        UseOrMoveVault {}
            "use the vault that is there, or name another place; `shudao vault info` shows what it is"
            "请使用该处已有的保险库，或指定其他位置；`shudao vault info` 可查看详情"
        MakeRoomAndResume {}
            "make room and give the command again with --in-place: what is there already is kept"
            "请腾出空间后，加 --in-place 重新执行该命令：已写入的内容会保留"
        RestoreWithoutDelete {}
            "restore without --delete, and remove by hand what you know to be extra"
            "请不带 --delete 恢复，并手工删除确知多余的内容"
        TakeOver {}
            "write from that client; if it is gone for good, `shudao vault takeover` shows what taking its place risks, and does it with --yes"
            "请从该客户端写入；若它已永久不可用，`shudao vault takeover` 会说明接管的风险，加 --yes 执行"
        NameNewVault {}
            "for a new directory here write ./NAME; else give an address, or a name from the config"
            "若要在当前位置新建目录，请写成 ./NAME；否则请给出地址或配置中的名称"
        ListKeys {}
            "`shudao vault key list` lists the keys"
            "`shudao vault key list` 可列出密钥"
        NameVault {}
            "give --vault with an address or a name of the config, or set SHUDAO_VAULT"
            "请用 --vault 给出地址或配置中的名称，或设置 SHUDAO_VAULT"
        QuickKept { dir: String }
            "everything is left as it is in {dir}: give the command by hand to see more, then remove the directory"
            "所有内容原样保留在 {dir}：可手工执行该命令查看详情，之后删除该目录"
        RecoveryKitNewFile {}
            "name a file that does not exist yet, in a directory where you may write"
            "请指定一个尚不存在的文件，且所在目录可写"
        ReleaseFirst {}
            "release it first with `shudao hold --release SNAP`, or leave it out"
            "请先用 `shudao hold --release SNAP` 解除保全，或不要包含它"
        RemoveKeyAndAddAgain {}
            "remove the key with `shudao vault key remove`, and add it again with shares in another directory"
            "请用 `shudao vault key remove` 删除该密钥，再将份额写到其他目录重新添加"
        ReportBug {}
            "this should not happen: report it with the command and this message; what is stored is not affected"
            "这种情况不应发生：请附上命令与本消息进行反馈；已存储的数据不受影响"
        ResumeWith { command: String }
            "what is stored stays; to go on where it stopped: {command}"
            "已存储的内容会保留；要从停止处继续，请执行：{command}"
        RunAgain {}
            "give the command again"
            "请重新执行该命令"
        RunCheck {}
            "run `shudao check` to see what is affected; everything else can still be restored"
            "请运行 `shudao check` 查看影响范围；其余数据仍可恢复"
        SeeHelp {}
            "see `shudao --help`, or --help behind the command"
            "请查看 `shudao --help`，或在命令后加 --help"
        SettleLocks {}
            "the owner settles it with `shudao vault lock --mode governance --days 30`"
            "所有者可用 `shudao vault lock --mode governance --days 30` 设定"
        SetVariable { variable: &'static str }
            "set {variable} to a directory where you may write"
            "请将 {variable} 设为一个可写的目录"
        TryAgainLater {}
            "try again later; if it stays so, check the network and the address"
            "请稍后重试；若仍如此，请检查网络和地址"
        UseNewerShudao {}
            "use a newer build of shudao"
            "请使用更新版本的 shudao"
        UseOtherRole {}
            "open the vault with a key whose role has this right; `shudao vault key list` shows the roles"
            "请使用具有此权限的角色密钥开启保险库；`shudao vault key list` 可查看各角色"
        WaitForOtherRun {}
            "wait until the other run has ended; `shudao vault status` shows open sessions"
            "请等待另一个任务结束；`shudao vault status` 可查看未结束的会话"
    }
}
